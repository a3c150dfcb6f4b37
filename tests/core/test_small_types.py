"""Seeds, sizes and errors."""

from __future__ import annotations

import hashlib

import pytest
import torch

from fdream.core import errors
from fdream.core.errors import FdreamError, UsageError
from fdream.core.seeds import draw_seed, initial_noise, noise_seed
from fdream.core.sizes import Size


def test_noise_seed_is_the_first_63_bits_of_the_digest() -> None:
    digest = hashlib.sha256(b"7/prior/3").hexdigest()
    assert noise_seed(7, "prior", 3) == int(digest[:16], 16) // 2


def test_stages_and_samples_never_share_noise() -> None:
    seeds = {noise_seed(s, stream, i) for s in range(5) for stream in ("prior", "generator")
             for i in range(5)}  # fmt: skip
    assert len(seeds) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_noise_does_not_depend_on_the_batch() -> None:
    together = initial_noise((2, 3), [5, 2**63 - 1, 9])
    alone = [initial_noise((2, 3), [seed])[0] for seed in (5, 2**63 - 1, 9)]
    assert together.dtype == torch.float32
    assert torch.equal(together, torch.stack(alone))


def test_drawn_seeds_differ_and_fit_32_bits() -> None:
    seeds = {draw_seed() for _ in range(20)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("160x96", (96, 160)), ("128", (128, 128)), (" 64 X 32 ", (32, 64))],
)
def test_size_is_written_width_first_and_held_height_first(text, expected) -> None:
    assert Size.parse(text) == expected


@pytest.mark.parametrize("text", ["160x96", "128x128"])
def test_size_prints_as_it_is_read(text: str) -> None:
    assert str(Size.parse(text)) == text


@pytest.mark.parametrize("text", ["", "0", "64x0", "-3", "64x", "64x64x64", "1e3", "\u0661"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
        Size.parse(text)


def test_exit_codes_are_those_of_the_manual() -> None:
    codes = {
        "CheckFailed": 1, "UsageError": 2, "RecipeError": 2, "SettingsError": 2, "StageError": 3,
        "PluginError": 3, "WeightsError": 3, "UnconvertedError": 3, "DataError": 4,
        "DeviceError": 5, "OutputError": 6,
    }  # fmt: skip
    ours = {
        name: cls.exit_code
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, FdreamError) and cls is not FdreamError
    }
    assert ours == codes
