"""Clips of SpriteWorld: from a seed to frames, flow, mask, visibility and captions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from fdream.core.captions import CaptionPair
from fdream.core.sizes import Size
from fdream.data.spriteworld import captions, motions, scenes, sprites
from fdream.data.spriteworld.chance import Chance
from fdream.data.spriteworld.degrade import degrade
from fdream.data.spriteworld.exact_flow import exact_flow

Split = Literal["train", "held-out", "all"]

WORLD_VERSION = 2
"""Grows whenever a seed shows something else than before: pictures of two versions do not mix."""

_HELD_OUT_SHARE = 0.1
_SIZES = (0.40, 0.45, 0.50)
"""Sizes of a sprite in the first frame where they are few, in short sides."""
_DEFAULT_SIZE = Size(128, 128)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a clip shows; all of it, so that equal facts render equally."""

    thing: str
    scene: str
    motion: str
    camera: str
    on_board: bool
    slowly: bool
    x: float
    """Centre of the sprite in the first frame, in short sides."""
    y: float
    """Centre of the sprite in the first frame, in short sides."""
    size: float
    """Longest side of the sprite in the first frame, in short sides."""
    variant: int
    """Which painting of the scene."""
    mirrored: bool
    """Whether the painting, not the sprite, is flipped left to right."""


@dataclass(frozen=True, slots=True)
class Description:
    """A scene in words: what is shown, the full caption, and its appearance and motion halves."""

    facts: Facts
    caption: str
    pair: CaptionPair


@dataclass(frozen=True, slots=True)
class Clip(Description):
    """One rendered clip.

    Attributes:
        frames: uint8 (F, H, W, 3) RGB.
        flow: float32 (F - 1, H, W, 2), pixels, x first: how far what each pixel of frame t shows
            has moved in frame t + 1.
        mask: bool (F, H, W), the sprite.
        visible: bool (F - 1, H, W), whether what a pixel of frame t shows can be seen in frame
            t + 1.
    """

    frames: np.ndarray
    flow: np.ndarray
    mask: np.ndarray
    visible: np.ndarray


@dataclass(frozen=True, slots=True)
class Still(Description):
    """One frame of a clip: uint8 (H, W, 3) RGB."""

    frame: np.ndarray


@dataclass(frozen=True, slots=True)
class SpriteWorld:
    """A world of a given cast, frame size and clip length; clips are drawn by seed.

    One in ten (object, scene, motion) triples is held out: split ``train`` never shows one, so that
    scores on ``held-out`` measure composition and not memory.
    """

    cast: sprites.SpriteSet = "noto"
    size: Size = _DEFAULT_SIZE
    frames: int = 16
    split: Split = "all"
    degraded: bool = False
    grid: int | None = None
    """Cells along the short side on whose corners sprites stand in the first frame, in one of three
    sizes; None lets them stand anywhere, in any size. Ours: a code of patches is another one for
    every place within a patch, and a small network learns to draw a few of them much sooner."""

    def facts(self, seed: int) -> Facts:
        """Draw a scene description; identical for a seed on every machine."""
        chance = Chance(f"spriteworld/{WORLD_VERSION}/{self.cast}/{seed}")
        things = tuple(sprites.cast(self.cast))
        while True:
            thing, motion = chance.pick(things), chance.pick(tuple(motions.MOTIONS))
            scene = chance.pick(tuple(scenes.SCENES))
            if motion == "surfing" and chance.happens(0.6):
                scene = "sea"
            if self.split == "all" or held_out(thing, scene, motion) == (self.split == "held-out"):
                break
        camera = "still"
        if (motion == "standing still" and chance.happens(0.6)) or chance.happens(0.04):
            camera = chance.pick(tuple(motions.CAMERAS)[1:])
        on_board = motion == "surfing" or chance.happens(0.04)
        aspect, tall = (side / min(self.size) for side in (self.size.width, self.size.height))
        slowly = motion != "standing still" and chance.happens(0.2)
        x, y = chance.between(0.36, 0.64) * aspect, chance.between(0.44, 0.64) * tall
        size = chance.between(0.38, 0.52)
        if self.grid is not None:
            x, y = round(x * self.grid) / self.grid, round(y * self.grid) / self.grid
            size = min(_SIZES, key=lambda few: abs(few - size))
        return Facts(
            thing=thing,
            scene=scene,
            motion=motion,
            camera=camera,
            on_board=on_board,
            slowly=slowly,
            x=x,
            y=y,
            size=size * (1.25 if on_board else 1.0),
            variant=chance.below(scenes.VARIANTS),
            mirrored=chance.happens(0.5),
        )

    def describe(self, seed: int) -> Description:
        """Draw and word a seed's scene without rendering it.

        Degraded worlds word it the way stock sites do, and both halves are that one caption.
        """
        facts = self.facts(seed)
        if self.degraded:
            short = captions.brief(Chance(f"brief/{seed}"), facts.thing, facts.scene, facts.motion)
            return Description(facts, short, CaptionPair(short, short))
        full, appearance, motion = captions.compose(
            Chance(f"caption/{seed}"),
            sprites.cast(self.cast)[facts.thing],
            facts.scene,
            facts.motion,
            facts.camera,
            facts.on_board,
            facts.slowly,
        )
        return Description(facts, full, CaptionPair(appearance, motion))

    def clip(self, seed: int, stride: int = 1) -> Clip:
        """Draw and render the clip of a seed, or every ``stride``-th frame of it."""
        clip = self.render(self.describe(seed), stride)
        return replace(clip, frames=degrade(clip.frames, seed)) if self.degraded else clip

    def still(self, seed: int, index: int) -> Still:
        """Draw one frame of a seed's clip without rendering the others.

        Args:
            seed: of the clip.
            index: which frame, 0..frames - 1.
        """
        shown = self.describe(seed)
        frame, _ = self._frames(shown.facts, (index,))
        return Still(
            shown.facts,
            shown.caption,
            shown.pair,
            degrade(frame, seed)[0] if self.degraded else frame[0],
        )

    def render(self, shown: Description, stride: int = 1) -> Clip:
        """Render a described scene, or every ``stride``-th frame of it."""
        placed, cameras, _ = self._path(shown.facts)
        frames, mask = self._frames(shown.facts, range(0, self.frames, stride))
        flow, visible = exact_flow(mask, placed[::stride], cameras[::stride])
        return Clip(shown.facts, shown.caption, shown.pair, frames, flow, mask, visible)

    def _frames(self, facts: Facts, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Draw some frames of a clip: uint8 (N, H, W, 3) and the sprite's mask, bool (N, H, W)."""
        height, width = self.size
        placed, cameras, picture = self._path(facts)
        background = self._background(facts)
        frames = np.empty((len(indices), height, width, 3), np.uint8)
        mask = np.zeros((len(indices), height, width), bool)
        still = background[_frame_window(height, width)] if facts.camera == "still" else None
        offset = np.eye(3)
        offset[:2, 2] = scenes.margin_px(height, width)
        for row, t in enumerate(indices):
            if still is not None:
                frames[row] = still
            else:
                inverse = offset @ np.linalg.inv(cameras[t])
                frames[row] = cv2.warpAffine(
                    background,
                    inverse[:2],
                    (width, height),
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                )
            _composite(frames[row], mask[row], picture, placed[t])
        return frames, mask

    def _path(self, facts: Facts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return sprite-to-frame maps and camera maps, both (F, 3, 3), and the sprite to draw."""
        height, width = self.size
        unit = min(height, width)
        room = motions.Room.around(facts.x, facts.y, facts.size, width / unit, height / unit)
        path = motions.MOTIONS[facts.motion][0]
        steps = [t / max(1, self.frames - 1) for t in range(self.frames)]
        poses = [path(u, room, 0.5 if facts.slowly else 1.0) for u in steps]
        cameras = np.stack([motions.camera_matrix(facts.camera, u, height, width) for u in steps])
        largest = max(pose.scale * cam[0, 0] for pose, cam in zip(poses, cameras, strict=True))
        longest_px = facts.size * unit
        picture = _scaled(
            self.cast, facts.thing, facts.on_board, max(4, round(longest_px * largest))
        )
        grain = longest_px / max(picture.shape[:2])
        placed = np.stack(
            [
                camera
                @ motions.sprite_matrix(
                    (facts.x + pose.dx) * unit - 0.5,
                    (facts.y + pose.dy) * unit - 0.5,
                    grain * pose.scale,
                    pose.angle,
                    picture.shape[:2],
                )
                for pose, camera in zip(poses, cameras, strict=True)
            ]
        )
        return placed, cameras, picture

    def _background(self, facts: Facts) -> np.ndarray:
        painting = scenes.canvas(facts.scene, facts.variant, *self.size)
        return np.ascontiguousarray(painting[:, ::-1]) if facts.mirrored else painting


def held_out(thing: str, scene: str, motion: str) -> bool:
    """Say whether a triple is kept from training; the same one in ten on every machine."""
    digest = hashlib.sha256(f"{thing}/{scene}/{motion}".encode()).digest()
    return digest[0] < 256 * _HELD_OUT_SHARE


@lru_cache(maxsize=1024)
def _scaled(cast: sprites.SpriteSet, thing: str, on_board: bool, longest_px: int) -> np.ndarray:
    picture = sprites.rider(cast, thing) if on_board else sprites.sprite(cast, thing)
    factor = longest_px / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    # A transparent rim: without it the sprite's last row would end in a hard, aliased edge.
    return cv2.copyMakeBorder(
        cv2.resize(picture, size, interpolation=way), 1, 1, 1, 1, cv2.BORDER_CONSTANT
    )


def _frame_window(height: int, width: int) -> tuple[slice, slice]:
    margin = scenes.margin_px(height, width)
    return slice(margin, margin + height), slice(margin, margin + width)


def _bounds(
    matrix: np.ndarray, sprite_hw: tuple[int, int], height: int, width: int
) -> tuple[int, int, int, int]:
    """Return the frame window (y0, y1, x0, x1) that a placed sprite can touch."""
    h, w = sprite_hw
    corners = matrix[:2] @ np.array([[0, w, 0, w], [0, 0, h, h], [1, 1, 1, 1]])
    x0, y0 = np.floor(corners.min(1)).astype(int) - 1
    x1, y1 = np.ceil(corners.max(1)).astype(int) + 2
    return max(y0, 0), min(y1, height), max(x0, 0), min(x1, width)


def _composite(
    frame: np.ndarray, mask: np.ndarray, picture: np.ndarray, matrix: np.ndarray
) -> None:
    """Draw a premultiplied sprite into ``frame`` and ``mask``, in place."""
    y0, y1, x0, x1 = _bounds(matrix, picture.shape[:2], *mask.shape)
    if y1 <= y0 or x1 <= x0:
        return
    local = matrix.copy()
    local[:2, 2] -= (x0, y0)
    drawn = cv2.warpAffine(
        picture,
        local[:2],
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    alpha = drawn[..., 3]
    below = frame[y0:y1, x0:x1].astype(np.uint16)
    below *= (255 - alpha.astype(np.uint16))[..., None]
    below += 127
    below //= 255
    below += drawn[..., :3]
    frame[y0:y1, x0:x1] = np.minimum(below, 255)
    mask[y0:y1, x0:x1] = alpha > 127
