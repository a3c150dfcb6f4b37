"""Frames of a clip as its views want them: decoded as far as needed, resized, cropped."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import islice

import cv2
import numpy as np

from fdream.core.errors import DataError
from fdream.data.media import open_video, video_stream
from fdream.training.clips.buckets import Bucket, View


def see(data: bytes, views: Sequence[View]) -> list[np.ndarray]:
    """Decode a clip once, and keep only what views of it show.

    Args:
        data: the clip's bytes.
        views: of that clip.

    Returns:
        uint8 (F, height, width, 3) for each view.

    Raises:
        DataError: it cannot be decoded, or is shorter than its index says.
    """
    name, last = views[0].clip.name, max(view.span for view in views)
    kept: list[list[np.ndarray]] = [[] for _ in views]
    decoded = 0
    with open_video(io.BytesIO(data), name) as container:
        stream = video_stream(container, name)
        for number, picture in enumerate(islice(container.decode(stream), last)):
            decoded = number + 1
            wanted = [k for k, view in enumerate(views) if view.shows(number)]
            if wanted:
                frame = picture.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
                for k in wanted:
                    kept[k].append(fit(frame, views[k].bucket))
    if decoded < last:
        raise DataError(f"{name}: ends after {decoded} of {last} frames.")
    return [np.stack(frames) for frames in kept]


def fit(picture: np.ndarray, bucket: Bucket) -> np.ndarray:
    """Scale a picture until it covers a bucket's shape, and crop what stands over at the sides.

    Args:
        picture: uint8 (H, W, 3) or (H, W).

    Never mirrored: captions tell left from right.
    """
    height, width = picture.shape[:2]
    scale = max(bucket.height / height, bucket.width / width)
    size = (max(bucket.width, round(width * scale)), max(bucket.height, round(height * scale)))
    if size != (width, height):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(picture, size, interpolation=method)
    top, left = (size[1] - bucket.height) // 2, (size[0] - bucket.width) // 2
    return picture[top : top + bucket.height, left : left + bucket.width]
