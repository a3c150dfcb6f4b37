"""A prior: captions become pictures."""

from zlib import crc32

import numpy as np

from fdream.core.sizes import Size
from fdream.stages.interfaces import TextToImagePrior


class StripesPrior(TextToImagePrior):
    default_size = Size(height=128, width=128)

    def __init__(self, options, *, device):
        self._width = options.width

    def draw(self, captions, size, seeds, options):
        pairs = zip(captions, seeds, strict=True)
        return np.stack([self._paint(caption, size, seed) for caption, seed in pairs])

    def _paint(self, caption, size, seed):
        # Its own generator for each sample: a batch may be split, and a seed decides everything.
        random = np.random.default_rng([crc32(caption.encode()), seed])
        stripes = np.arange(size.width) // self._width
        colours = random.integers(0, 256, (stripes[-1] + 1, 3), dtype=np.uint8)
        return np.broadcast_to(colours[stripes], (*size, 3))
