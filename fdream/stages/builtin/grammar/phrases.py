"""Set phrases of captions: what the camera does, tempo, stillness, framing, and stock noise.

They are found in the text before anything is tagged, because no tagger was trained on
"4k footage, zoom in, seamless loop".
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

Role = Literal["camera", "tempo", "still", "frame", "stock"]


class Phrase(NamedTuple):
    """A set phrase in a text: ``text[start:end]`` plays a role."""

    start: int
    end: int
    role: Role


_PACE = (
    r"(?:very |super |extremely |extreme )?(?:slow|slowly|fast|quick|quickly|rapid|smooth|smoothly|"
    r"gentle|gently|gradual|gradually|sudden|dramatic|steady|cinematic) "
)
_WHITHER = (
    r"(?:(?:from )?(?:left to right|right to left|top to bottom|bottom to top|side to side)|"
    r"(?:to the |from the )?(?:left|right)|up(?:wards?)?|down(?:wards?)?|in(?:wards?)?|"
    r"out(?:wards?)?|forwards?|back(?:wards?)?|away|around|sideways|horizontally|vertically|"
    r"(?:counter|anti)?clockwise|closer)"
)
_MOVES = (
    r"(?:pan|zoom|tilt|doll(?:y|ie)|track|orbit|truck|crane|glid|fl[yi]|mov|follow|push|pull|rotat|"
    r"circl|ris|descend|sweep|swoop|travel|drift|advanc|approach|shak|spin|roll|slid|turn|ascend|"
    r"ped(?:estal)|rac[ek]|arc|lower|go)"
)
_CAMERA = "|".join(
    (
        # "the camera slowly pans left": whatever the camera is the subject of.
        rf"(?:the |a )?(?:drone |steadicam )?camera "
        rf"(?:(?:is|then|also|now|starts|begins|to|\w+ly) )*{_MOVES}\w*(?: {_WHITHER})*",
        rf"(?<!a )(?<!the )(?<!an )(?<!\w )drone (?:is )?"
        rf"(?:fl|mov|ris|circl|orbit|glid|pull|push|ascend|descend|approach)\w+(?: {_WHITHER})*",
        rf"(?:{_PACE})?(?:camera )?zoom(?:s|ing|ed)?[- ](?:{_WHITHER})",
        rf"(?:{_PACE})?(?:camera )?zoom(?:ing)?(?: shot| effect)?(?= of\b)",
        rf"(?:{_PACE})?(?:camera )?(?:pan(?:s|ning|ned)?|tilt(?:s|ing|ed)?)(?: shot)? {_WHITHER}"
        rf"(?: {_WHITHER})*",
        rf"(?:{_PACE})?(?:pan|tilt)(?:ning|ing)?[- ](?:shot|move|movement|view)",
        rf"(?:(?<=^)|(?<=[.,;:\n] )|(?<=[.,;:\n]))(?:{_PACE})?(?:pan|tilt)(?:ning|ing)?"
        rf"(?= (?:of|across|over|from|to|along|around|through)\b)",
        rf"(?:{_PACE})?(?:hand[- ]?held )?(?:dolly|slider|crane|jib|gimbal|steadicam|"
        rf"tracking|travell?ing|trucking|orbit(?:al|ing)?|arc|panning|tilting|panoramic) "
        rf"(?:camera )?(?:shot|move|movement|motion)s?(?: {_WHITHER})*",
        rf"(?:{_PACE})?(?:dolly|truck|pedestal|crane|jib) (?:{_WHITHER}|zoom)",
        rf"(?:{_PACE})(?:push|pull)(?:ing)?[- ](?:in|out|back)",
        r"(?:(?<=^)|(?<=[.,;:\n] ))(?:push|pull)(?:ing)?[- ](?:in|out|back)(?=[.,;:\n]|$)",
        r"whip pan",
        r"rack(?:s|ing)? focus(?:es|ing)?|pull(?:s|ing)? focus|focus (?:pull|shift)s?",
        r"(?:with )?(?:an? )?(?:(?:intense|slight|strong|subtle|violent) )?(?:camera )?"
        r"shak(?:e|y|ing|y-?cam)[- ](?:effect|camera|cam|footage|shot)s?|camera shake",
        r"hand[- ]?held(?: (?:camera|shot|footage|video|cam|movement))*",
        r"(?:featuring |with )?(?:an? )?(?:steady|smooth|stable)(?: and (?:steady|smooth|stable))? "
        r"(?:perspective|camera(?: movement| motion)?)",
        r"(?:moving|tracking|panning|rotating|flying|gliding|sliding) camera|"
        r"(?:vertical|horizontal) (?:pan|tilt)(?:ning|ing)?|"
        r"(?:\w+ )?camera (?:movement|motion|move|rotation|flight|pan|tilt|zoom|fly)s?"
        rf"(?:[- ](?:over|through))?(?: {_WHITHER})*",
        r"static (?:shot|camera|view|frame)|(?:fixed|locked(?:[- ](?:off|down))?) (?:camera|shot)",
        r"still(?= (?:video|footage|shot|camera)\b)",
        r"(?:(?:drone|aerial|low|bird) ){0,2}(?:fly[- ]?(?:over|through|by)s?)(?: shot)?",
        r"(?:(?<=^)|(?<=[.,;:\n] ))(?:(?:drone|aerial|low|slow) ){0,2}flight"
        r"(?= (?:over|through|above|along)\b)",
    )
)
_TEMPO = (
    r"(?:(?:in |at |with )?(?:an? )?(?:(?:super|extreme|extremely|ultra|very) )?"
    r"(?:slow[- ]?(?:motion|mo)|slomo)\b|"
    r"(?:in |at )?(?:an? )?(?:time[- ]?lapses?|hyper[- ]?lapses?)(?: mode)?)"
    r"(?: (?:shot|footage|video|clip|effect)s?(?=[.,;]|$))?|"
    r"(?:in )?(?:fast|accelerated|reversed?) motion|"
    r"(?:at |in )?(?:high|full|top|double|normal) speed(?! camera)|in reverse|"
    r"(?<=, )rotation(?=[.,]|$)|sped[- ]up|speed(?:ed)?[- ]up|"
    r"one by one|one after (?:another|the other)|again and again|over and over"
)
_STILL = (
    r"frozen in time|in a still frame|"
    r"(?:standing|sitting|staying|keeping|completely|perfectly) still|"
    r"(?:is |are )?(?:not|without) moving|motionless|without (?:any )?(?:motion|movement)"
)
_KIND = (
    r"(?:video|footage|clip|shot|view|animation|image|picture|photo|photograph|cartoon|recording|"
    r"scene|film|panorama|portrait|silhouette|silhouettes|closeup|close-up|macro|pov|"
    r"illustration|painting|render|rendering)s?"
)
# "Tourists taking pictures of the tower" are no frame; a picture of them would be.
_SHOOTS = r"(?:tak|mak|shoot|film|record|post|edit|send|creat)(?:e|es|s|ing)? "
_FRAME = (
    rf"(?:(?:^|(?<=[.,;:\n] )|(?<=[.,;:\n]))(?:an? |the )?(?:(?!{_SHOOTS})[\w/-]+ ){{0,4}}?"
    rf"(?:{_KIND}|close[- ]?ups?|extreme close[- ]?ups?)"
    rf"(?: (?:shot|view|footage|video|image|portrait))*"
    rf"(?: (?:of|on|from|in which|where|showing|that shows))\b)|"
    r"extreme close[- ]?ups?|close[- ]?ups?|\b(?:medium|long|wide|full|low[- ]angle|high[- ]angle|"
    r"aerial|drone|top|side|back|front|rear) (?:shot|view|footage)s?(?: of)?|top down view(?: of)?"
)
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_FORMAT = (
    r"(?:[24568]k|u?hd|fhd|full hd|ultra hd|(?:full |ultra )?high[- ]definition|high resolution|"
    r"high quality|2160p?|1080[pi]?|720p|\d{2,3} ?fps|prores)"
)
_CARRIER = r"(?:stock )?(?:footage|video|clip|resolution|quality|format|stock)s?"
_STOCK = (
    rf"\b{_FORMAT}\b(?:[ ,]+(?:{_FORMAT}\b|{_CARRIER}\b))*(?: of\b)?|"
    r"\b(?:royalty[- ]free )?stock (?:footage|video|clip|photo|animation)s?(?: of\b)?|"
    r"\bseamless(?:ly)?(?: loop(?:ed|ing|able|s)?)?(?: (?:video|animation))?\b|"
    r"\b(?:loop(?:ed|ing|able)|loop-able)\b(?: (?:video|animation|ready))?|"
    r"(?:(?<=, )|(?<=\. ))loop(?=[.,]|$)|\bb[- ]roll\b|\bcopy ?space\b|"
    r"\b(?:with )?alpha (?:channel|matte)\b|\bchroma key\b|\broyalty[- ]free\b|"
    r"\belements of this (?:image|video|clip) (?:are )?furnished by nasa\b|"
    r"\b(?:(?:clip|video|file|stock|media) )?(?:id|no\.?|nr\.?|number)[:# ]*\d{4,}\b|#?\b\d{7,}\b|"
    rf"\b(?:circa |c\.? ?)?(?:{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|"
    rf"\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{_MONTH}\.?,? \d{{4}}|{_MONTH}\.?,? \d{{4}})\b|"
    r"\bcirca (?:19|20)\d\d\b|\b\d{1,4}[./-]\d{1,2}[./-]\d{2,4}\b|"
    r"(?:(?<=, )|(?<=- )|(?<=\. ))(?:19|20)\d\d(?=[.,:;]|$)|"
    r"\b(?:shot|filmed|recorded) (?:on|with) (?:an? )?(?:red|arri|sony|canon|gopro|dji|nikon|"
    r"blackmagic|panasonic)\b[\w ]*"
)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE)


_PATTERNS: Final[tuple[tuple[Role, re.Pattern[str]], ...]] = (
    ("stock", _compiled(_STOCK)),
    ("camera", _compiled(_CAMERA)),
    ("tempo", _compiled(_TEMPO)),
    ("still", _compiled(_STILL)),
    ("frame", _compiled(_FRAME)),
)


def phrases(text: str) -> list[Phrase]:
    """Find the set phrases of a text, in order; where two overlap the more telling one stays."""
    found: list[Phrase] = []
    taken = bytearray(len(text))
    for role, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            start, end = match.span()
            if start < end and not any(taken[start:end]):
                taken[start:end] = b"\1" * (end - start)
                found.append(Phrase(start, end, role))
    return sorted(found)


_NAMES: Final = (
    ("rack focus", r"\brack|focus"),
    ("zoom", r"zoom"),
    ("pan", r"\bpan"),
    ("tilt", r"tilt"),
    ("orbit", r"orbit|circl|\barc\b"),
    ("dolly", r"doll|slider|push|pull"),
    ("crane", r"crane|jib|pedestal|ris(?:es|ing)|descend|ascend"),
    ("track", r"track|follow|truck|travel|steadicam"),
    ("fly", r"fl(?:y|ies|ight)|drone|glid|soar|swoop"),
    ("shake", r"shak"),
    ("handheld", r"hand[- ]?held"),
    ("static", r"static|fixed|locked|still"),
    ("steady", r"steady|smooth|stable"),
    ("rotate", r"rotat|spin|roll|turn"),
    ("move", r"mov"),
)
_COMPASS: Final = (
    ("left to right", r"left to right"),
    ("right to left", r"right to left"),
    ("left", r"left"),
    ("right", r"right"),
    ("up", r"\bup"),
    ("down", r"\bdown|descend|bottom"),
    ("in", r"\bin\b|inward|closer|forward|into"),
    ("out", r"\bout|backward|\bback\b|away"),
)


def camera_name(words: str) -> str:
    """Return the field's name of a camera motion: ``"zoom in"`` for ``"the camera zooms in"``."""
    lower = words.lower()
    name = next((n for n, pattern in _NAMES if re.search(pattern, lower)), "move")
    if name in ("rack focus", "shake", "handheld", "static", "steady", "fly", "track"):
        return name
    way = next((n for n, pattern in _COMPASS if re.search(pattern, lower)), "")
    return f"{name} {way}".strip()
