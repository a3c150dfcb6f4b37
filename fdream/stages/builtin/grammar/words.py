"""The closed classes that the grammar splitter knows by heart; open ones come from the tagger.

What is a verb, a noun or a particle is HanTa's business. What no tagger says is which few verbs
name a state, which prepositions lead somewhere, and how film people speak: that stands here.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STATES: Final = _words(
    """sit stand lie lay lean kneel crouch squat hang perch rest sleep relax nap slumber lounge
    wear hold carry have own keep contain belong possess lack need want like love
    look watch see stare gaze face listen hear wait pose think feel seem appear know remain stay
    be exist live consist include resemble represent depict show feature display showcase portray
    surround cover overlook span border flank adorn line frame illuminate shine glow light
    cast reflect shadow tower arch lead harmonize accent bask bathe park isolate base
    filter highlight exude capture enhance evoke suggest convey express emphasize accentuate
    complement contrast offer provide invite promise symbolize mark embody exemplify hint range
    define focus"""
)
"""Verbs (lemmas) of posture, possession, attention, sleep, light and arrangement, and those that
speak of the picture and not in it: "highlighting its elegance"."""

MAKING: Final = _words("create add lend give bring tell whisper form make set")
"""Verbs (lemmas) that make nothing move when what they make is an impression."""

IMPRESSIONS: Final = _words(
    """atmosphere ambiance ambience sense touch quality effect mood feeling feel charm elegance
    beauty warmth depth essence contrast backdrop impression sophistication calm calmness
    tranquility moment story tale scene tone glow sophistication character interest"""
)
"""Nouns (lemmas) of what a picture is like: "creating a serene *atmosphere*"."""

RISING: Final = _words("sit stand lie lay kneel crouch squat lean")
"""Postures that a particle turns into a movement: to sit *down*."""

STILLNESS_VERBS: Final = _words("rest")
"""States that say that nothing moves, where nothing else does."""

MOVING_OBJECTS: Final = _words("carry hold")
"""States that a path turns into a movement: *carrying* a leaf *along the branch*."""

ATTRIBUTES: Final = _words(
    """move flow fall flash blink rotate spin sway burn boil melt crash rise flicker float fly run
    swirl bubble splash drip drift shake wave explode erupt grow blow bounce roll turn change spread
    twinkle pulse pulsate vibrate flutter steam smoke dance walk jump swim gallop leap march speed
    pass approach recede scroll slide swing tumble whirl tremble shiver rush cascade
    soar circle hover orbit billow"""
)
"""Verbs whose participle before a noun names a movement: *flashing* lights, not *parking* lot."""

THINGS_IN_ING: Final = _words(
    """building painting drawing ceiling clothing wedding lighting evening morning string spring
    ring wing king thing sibling pudding lightning meeting railing awning earring bearing offering
    crossing dressing icing stuffing surrounding being saying setting feeling wrapping coating
    plumbing flooring fencing training packaging parking nothing something anything
    everything during duckling dumpling sapling darling sling sting herring wellbeing housing
    roofing bedding filling"""
)
"""Words in -ing that are things unless an auxiliary or an object says otherwise."""

STEPS: Final = {
    "into": "in",
    "onto": "on",
    "through": "in",
    "across": "on",
    "down": "on",
    "up": "on",
    "along": "along",
    "over": "over",
    "past": "by",
    "by": "by",
    "around": "around",
    "round": "around",
    "from": "from",
    "off": "on",
    "out": "in",
    "toward": "before",
    "towards": "before",
    "alongside": "beside",
    "via": "on",
    "throughout": "in",
    "between": "between",
    "behind": "behind",
    "under": "under",
    "beneath": "beneath",
    "above": "above",
    "below": "below",
    "against": "against",
    "after": "behind",
}
"""Prepositions that may lead somewhere, each with the place that is left when nothing moves."""

PATHS: Final = _words(
    """into onto through across down up along past by around round from off out toward towards
    alongside via throughout over"""
)
"""The ones of ``STEPS`` that always belong to the movement."""

PASSING: Final = _words(
    "pass move go duck slip slide crawl flow run walk drive ride fly swim sail travel stroll"
)
"""Verbs (lemmas) that ``by`` and ``between`` lead somewhere after."""

SLIPPING: Final = _words(
    "pass move go duck slip slide crawl flow dive disappear vanish sink set rise"
)
"""Verbs (lemmas) that ``under``, ``behind`` and the like lead somewhere after."""

EVENTS: Final = _words("explode burst erupt strike hover float appear shine hang")
"""Verbs (lemmas) that happen in one place, even *over the river*."""

PHRASAL: Final = {
    "on": _words("turn switch put try"),
    "off": _words("turn switch take shake cut wash wipe brush peel"),
    "up": _words("pick pull set cut fold pack wrap light lift clean dig tear roll zip build break"),
    "out": _words("take blow pull throw put cut"),
}
"""Particles, with the verbs (lemmas) they follow before an object: "turning *on* a light"."""

LIGHTING: Final = _words("shine light")
"""States that an object turns into something done: "shining shoes"."""

TOOLS: Final = _words(
    "phone telephone smartphone mobile radio laptop computer keyboard tablet typewriter notebook"
)
"""Nouns (lemmas) that are worked on, and are no place."""

FIRST_PARTS: Final = _words(
    "ice roller figure bungee hula scuba sky kite rock speed inline deep stir belly cliff base"
)
"""First parts of activities that are written apart: "roller skating"."""

ACTIVITIES: Final = _words(
    "skating climbing diving jumping dancing surfing sailing skiing boarding frying hooping fishing"
)
"""Their second parts; "ice melting" is none."""

PICTURES: Final = _words(
    """video footage clip shot view animation image picture photo background backdrop screen scene
    portrait silhouette close-up closeup macro panorama concept camera top side"""
)
"""Nouns (lemmas) that speak of the picture and not of a thing in it."""

COMPLEMENTS: Final = _words("to with for as about like using")
"""Prepositions that tie a second thing to the verb, so that the picture keeps both."""

WAYS: Final = {
    "in": _words(
        """circle circles loop loops spiral spirals line lines row rows direction directions wind
        breeze current currents air motion reverse unison sync formation rhythm"""
    ),
    "on": _words("wave waves"),
    "at": _words("speed pace"),
    "with": _words("wind breeze current currents speed"),
    "against": _words("wind current"),
}
"""Nouns that after these prepositions say how something moves and not where."""

GOALS: Final = _words(
    """put place pour spread spray load throw drop add apply write draw paint tap knock land
    crash sit stand arrive lay set sprinkle drizzle dump smear rub swipe hit click press glue stick
    hang pin draw score dip plunge plant scoop squeeze scatter squirt stamp step"""
)
"""Verbs (lemmas) whose in, on, over or at names where something goes."""

GAZES: Final = _words("smile laugh wave look wink point shout bark growl smirk grin nod arrive")
"""Verbs (lemmas) that are done *at* something."""

DIRECTIONS: Final = _words(
    """left right up down forward forwards backward backwards away around back in out off over
    upward upwards downward downwards sideways clockwise counterclockwise anticlockwise ahead
    together apart along by past through about home towards toward across aside inward inwards
    outward outwards forth"""
)
"""Words that lead on from a verb when no noun follows them."""

BECOMING: Final = _words("get become turn grow go fall come")
"""Verbs (lemmas) that take an adjective as what becomes of the thing."""

FIXED: Final = _words(
    """road path trail street canyon mountain valley ridge coast coastline fence wall bridge
    staircase stairs stair railway track highway hill cliff skyline horizon alley tunnel pathway"""
)
"""Things (lemmas) that cannot move: what they "do" is said of their shape."""

PERSONS: Final = _words(
    "man woman boy girl child kid person people lady guy teenager toddler couple"
)
"""Nouns (lemmas) of whom it is said what they do: "woman sewing dress" is no compound."""

CROWDS: Final = _words(
    "people crowd couple group family team police sheep deer fish cattle band flock pair swarm herd"
)
"""Nouns without a plural ending that take a plural verb, or look as if they did."""

VEHICLES: Final = {
    "surf": ("on a surfboard", "on surfboards", "surfboard"),
    "skateboard": ("on a skateboard", "on skateboards", "skateboard"),
    "snowboard": ("on a snowboard", "on snowboards", "snowboard"),
    "ski": ("on skis", "on skis", "skis"),
    "cycle": ("on a bicycle", "on bicycles", "bicycle"),
    "bike": ("on a bike", "on bikes", "bike"),
    "bicycle": ("on a bicycle", "on bicycles", "bicycle"),
    "motorcycle": ("on a motorcycle", "on motorcycles", "motorcycle"),
    "kayak": ("in a kayak", "in kayaks", "kayak"),
    "canoe": ("in a canoe", "in canoes", "canoe"),
    "sled": ("on a sled", "on sleds", "sled"),
    "windsurf": ("on a windsurfing board", "on windsurfing boards", "board"),
}
"""What an activity (lemma) is done on: for one, for several, and the noun that says it already."""

CAMERA_PATHS: Final = _words(
    "to from over around along across through into toward towards past above on onto"
)
"""Prepositions that lead on from a camera move."""

AFTER_PARTICLES: Final = frozenset(
    ("", "PRP", "PRF", "CJC", "CJS", "AV0", "AVP", "TO0", "PUN", "VVG")
)
"""Tags of what may follow a particle; before a noun it is a preposition."""

CONNECTIVES: Final = _words("while when as where so then there here very too also")
"""Words that are tagged as adverbs and begin something new."""

PLACE_ADVERBS: Final = _words(
    "below above behind nearby underwater outside outdoors inside indoors overhead together"
)
"""Adverbs that belong to both halves."""

OCCASIONS: Final = _words("breakfast lunch dinner snack christmas halloween first")
"""Nouns (lemmas) that after *for* name no purpose."""

TIMES: Final = _words(
    """sunset sunrise dawn dusk twilight night noon midnight morning evening afternoon daytime
    nighttime day spring summer autumn winter"""
)
"""Nouns (lemmas) that say when: "landing at sunset" lands on no sunset."""
