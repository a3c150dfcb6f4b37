"""Both halves of a caption that has been read, as text."""

from __future__ import annotations

import re
from typing import Final

from fdream.core.captions import STILL
from fdream.stages.builtin.grammar.phrases import camera_name
from fdream.stages.builtin.grammar.reading import NOUNS, PRONOUNS
from fdream.stages.builtin.grammar.tagger import Token
from fdream.stages.builtin.grammar.words import STILLNESS_VERBS

_EMPTY_TAGS: Final = frozenset(
    {"AT0", "PRP", "PRF", "CJC", "CJS", "TO0", "PUN", "SENT", "POS", "PNP"}
)


def halves(tokens: list[Token], text: str) -> tuple[str, str]:
    """Write a read caption as (appearance, motion).

    Args:
        tokens: with ``moving`` and ``still`` filled in; stillness is moved between the halves here.
        text: the cleaned caption, which stays whole where it shows nothing.
    """
    motion = _motion(tokens) or _stillness(tokens) or STILL
    _keep_unmoved(tokens)
    _restore_mover(tokens)
    if not _shows_thing(tokens):
        return one_line(text), motion
    words = ((t.text if t.still is None else t.still, t.glued) for t in tokens)
    appearance = _tidy(_join([(word, glued) for word, glued in words if word]))
    if not text.endswith("."):
        appearance = appearance.rstrip(".")
    return appearance or one_line(text), motion


def camera_motion(tokens: list[Token]) -> str:
    """Name the camera's motions in the field's words, in the order they are said."""
    heard: dict[int, list[str]] = {}
    for token in tokens:
        if token.role == "camera":
            heard.setdefault(token.phrase, []).append(token.lower)
    return ", ".join(dict.fromkeys(camera_name(" ".join(words)) for words in heard.values()))


def one_line(text: str) -> str:
    """Return a text with its line breaks as spaces."""
    return " ".join(text.split())


def _motion(tokens: list[Token]) -> str:
    """Join the spans: a comma between two, as between clauses."""
    spans: dict[int, list[Token]] = {}
    for token in tokens:
        if token.moving:
            spans.setdefault(token.moving, []).append(token)
    return ", ".join(_join([(t.text, t.glued) for t in span]) for span in spans.values())


def _stillness(tokens: list[Token]) -> str:
    """Return the words that say that nothing moves, and take them out of the picture."""
    said = [t for t in tokens if t.role == "still"]
    said = said or [t for t in tokens if t.lemma in STILLNESS_VERBS and t.tag == "VVG"][:1]
    for token in said:
        token.still, token.moving = "", 1
    return _join([(t.text, t.glued) for t in said])


def _keep_unmoved(tokens: list[Token]) -> None:
    """Let no content word vanish: what the motion half did not take stays in the picture."""
    for token in tokens:
        empty = token.tag in _EMPTY_TAGS or token.tag.startswith("VB")
        if token.still is not None and not (token.moving or empty or token.role == "stock"):
            token.still = None


def _restore_mover(tokens: list[Token]) -> None:
    """Keep the first motion in the picture where nobody is there to make it: "Running through"."""
    seen = next((t for t in tokens if t.still != "" and t.role is None), None)
    first = next((t for t in tokens if t.role is None), None)
    if first is None or not first.moving or seen is None or seen.tag not in ("PRP", "AVP"):
        return
    for token in tokens:
        if token.moving == first.moving:
            token.still = None


def _shows_thing(tokens: list[Token]) -> bool:
    return any(
        t.still is None and t.role is None and (t.tag in NOUNS or t.tag in PRONOUNS) for t in tokens
    )


def _join(words: list[tuple[str, bool]]) -> str:
    text = ""
    for word, glued in words:
        text += word if glued or not text else f" {word}"
    return re.sub(r"[.\s]*\n", ". ", text).strip()


def _tidy(text: str) -> str:
    """Mend the punctuation around what was taken out."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" +([,.;:!?])", r"\1", text)
    text = re.sub(r"\(\s*\)|\[\s*\]", "", text)
    text = re.sub(r" [-\u2013](?=\s*[,.;:])", "", text)
    text = re.sub(r"([,;:])(?:\s*[,;:])+", r"\1", text)
    text = re.sub(r"[,;:\s]*\.(?:\s*[,.;:])*", ".", text)
    # Words that tied on what is gone.
    tied = r"(?:and )?then|and|while|as|when|with|of"
    text = re.sub(rf"[ ,;:-]*\b(?i:{tied})(?=\s*(?:[,.;]|$))", "", text)
    text = re.sub(r"\b(?:(?:and )?then|while|and) (?=(?:on|in|at|near|with)\b)", "", text)
    return re.sub(r"\s+", " ", text).strip(" ,;:-\u2013")


def participle(lemma: str, word: str) -> str:
    """Return a verb's present participle: "runs" is "running"."""
    stem = lemma if lemma.isalpha() else word
    if stem.endswith("ie"):
        return f"{stem[:-2]}ying"
    if stem.endswith("e") and not stem.endswith(("ee", "oe", "ye")) and stem != "be":
        return f"{stem[:-1]}ing"
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", stem) or stem in _DOUBLED:
        return f"{stem}{stem[-1]}ing"
    return f"{stem}ing"


_DOUBLED: Final = frozenset({"begin", "forget", "permit", "submit", "admit", "refer", "occur"})
