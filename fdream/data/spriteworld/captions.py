"""How SpriteWorld speaks: a full caption, its appearance half and its motion half.

Wordings vary as people's do, but every word means something that the clip shows; the vocabulary
is the union of these tables, and ``vocabulary`` lists it for the tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.motions import CAMERAS, MOTIONS
from fdream.data.spriteworld.scenes import SCENES
from fdream.data.spriteworld.sprites import SpriteSet, cast

_ON_BOARD = ("on a surfboard", "standing on a surfboard")
_OPENINGS = ("", "", "", "a video of ", "a picture of ", "a cartoon of ")
_EXTRA_WORDS = (
    "with",
    "and",
    "while",
    "it",
    "is",
    "the",
    "a",
    "an",
    "slowly",
    "quickly",
    "fast",
    "stock",
    "footage",
    "clip",
    "hd",
    "4k",
)


def article(noun: str) -> str:
    """Put "a" or "an" before a noun phrase of SpriteWorld's cast."""
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


def compose(
    chance: Chance,
    nouns: tuple[str, ...],
    scene: str,
    motion: str,
    camera: str,
    on_board: bool,
    slowly: bool,
) -> tuple[str, str, str]:
    """Word one scene description.

    Args:
        chance: chooses among the wordings.
        nouns: what the object may be called.
        scene: a key of ``SCENES``.
        motion: a key of ``MOTIONS``.
        camera: a key of ``CAMERAS``.
        on_board: whether the object stands on a surfboard.
        slowly: whether it moves at half the pace.

    Returns:
        (full caption, appearance half, motion half).
    """
    thing = article(chance.pick(nouns))
    place = chance.pick(SCENES[scene])
    verb = chance.pick(MOTIONS[motion][1])
    if slowly:
        verb = f"{verb} slowly" if chance.happens(0.7) else f"slowly {verb}"
    board = f" {chance.pick(_ON_BOARD)}" if on_board else ""
    opening = chance.pick(_OPENINGS)
    view = chance.pick(CAMERAS[camera])
    # Someone who says "a corgi surfing" means the sea: only there may the place go unsaid.
    unsaid = motion == "surfing" and scene == "sea" and chance.happens(0.5)
    where = "" if unsaid else f" {place}"
    shown = "" if motion == "surfing" and chance.happens(0.7) else board
    full = f"{opening}{thing}{shown} {verb}{where}"
    moving = verb
    if view:
        full = f"{full}, {view}"
        moving = view if motion == "standing still" else f"{verb}, {view}"
        if motion == "standing still" and chance.happens(0.5):
            full = f"{opening}{thing}{board}{where}, {view}"
    appearance = f"{opening}{thing}{board}{where}"
    return full, appearance, moving


def brief(chance: Chance, noun: str, scene: str, motion: str) -> str:
    """Word a clip the way stock sites do: short, incomplete, sometimes with a stock phrase."""
    wordings = [
        noun,
        noun.split()[-1],
        f"{noun} {motion}",
        f"{noun} {SCENES[scene][0]}",
        SCENES[scene][0],
    ]
    stock = ("", "", " stock footage", " hd", " 4k clip")
    return f"{chance.pick(wordings)}{chance.pick(stock)}".strip()


def vocabulary(sprites: SpriteSet) -> list[str]:
    """List every word that a caption of this cast can hold, sorted."""
    phrases: list[str] = [*_ON_BOARD, *_OPENINGS, *_EXTRA_WORDS]
    for table in (cast(sprites), SCENES, CAMERAS):
        phrases += [w for wordings in table.values() for w in wordings]
    phrases += [w for _, wordings in MOTIONS.values() for w in wordings]
    return sorted(set(words(phrases)))


def words(phrases: Iterable[str]) -> list[str]:
    """Split phrases into lower-case words, as the tokenizers do."""
    return [w for phrase in phrases for w in re.findall(r"[a-z0-9]+", phrase.lower())]
