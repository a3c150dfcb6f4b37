"""The degraded mode: what a bad stock clip looks like.

Low resolution, blur, JPEG blocks and a fixed watermark, the same for all frames of a clip, stand in
for WebVid in experiments on training with low-quality data.
"""

from __future__ import annotations

import cv2
import numpy as np

from fdream.data.spriteworld.chance import Chance


def watermark(height_px: int, width_px: int) -> np.ndarray:
    """Return the overlay's opacity: a slanted bar and a word, the same on every clip of a size.

    Returns:
        float32 (H, W, 1) in 0..1.
    """
    page = np.zeros((height_px, width_px), np.uint8)
    scale = min(height_px, width_px) / 128
    thickness = max(1, round(1.4 * scale))
    at = (round(0.14 * width_px), round(0.56 * height_px))
    cv2.putText(
        page, "STOCK", at, cv2.FONT_HERSHEY_SIMPLEX, 1.0 * scale, 255, thickness, cv2.LINE_AA
    )
    cv2.line(
        page,
        (0, round(0.72 * height_px)),
        (width_px, round(0.28 * height_px)),
        110,
        thickness,
        cv2.LINE_AA,
    )
    return (page.astype(np.float32) / 255 * 0.45)[..., None]


def degrade(frames: np.ndarray, seed: int) -> np.ndarray:
    """Make a clip look like low-quality stock video.

    Args:
        frames: uint8 (F, H, W, 3) RGB.
        seed: of the clip; chooses strengths, never the watermark.

    Returns:
        uint8 (F, H, W, 3).
    """
    chance = Chance(f"degrade/{seed}")
    height, width = frames.shape[1:3]
    shrink = chance.between(0.4, 0.7)
    sigma = chance.between(0.3, 0.9)
    quality = int(chance.between(18, 45))
    overlay = watermark(height, width)
    low = (max(8, round(width * shrink)), max(8, round(height * shrink)))
    result = np.empty_like(frames)
    for index, frame in enumerate(frames):
        small = cv2.GaussianBlur(
            cv2.resize(frame, low, interpolation=cv2.INTER_AREA), (0, 0), sigma
        )
        back = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        marked = np.clip(back * (1 - overlay) + 255 * overlay, 0, 255).astype(np.uint8)
        done, packed = cv2.imencode(".jpg", marked[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        assert done, "JPEG encoding of an RGB frame cannot fail"
        assert unpacked is not None, "nor can the decoding of what was just encoded"
        result[index] = unpacked[..., ::-1]
    return result
