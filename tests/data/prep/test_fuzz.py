"""Mutants of real clips: none crashes the run, hangs it, or makes it grow."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fdream.core.prep_recipe import LimitsTable, PrepRecipe
from fdream.data.prep.isolation import IsolatedWorkers, Job
from fdream.data.prep.sources.files import file_row

MUTANTS = 504
SEEDS = (
    *("asl_thanks.mkv", "big_buck_bunny_432_433.webm", "h264_10bit.mp4", "rotated_90.mov"),
    *("nasa_13013_rotated.mp4", "odd_321x241_444.mp4", "derived/one_frame.mp4"),
    *("derived/flower_321x241_real_odd.mp4", "corrupted_bitstream.mp4"),
)
Mutation = Callable[[bytearray, random.Random], bytearray]


def flip_bits(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 8, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def flip_in_head(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(16):
        data[chance.randrange(min(4096, len(data)))] = chance.randrange(256)
    return data


def extreme_numbers(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(4):
        at = chance.randrange(len(data) - 8)
        width = chance.choice((2, 4, 8))
        data[at : at + width] = chance.choice((b"\xff", b"\x00", b"\x7f")) * width
    return data


def cut_out(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data))
    del data[start : start + chance.randrange(1, len(data) // 4)]
    return data


def repeat_part(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data) // 2)
    part = data[start : start + chance.randrange(16, 4096)]
    return data[:start] + part * chance.choice((2, 16)) + data[start:]


def truncate(data: bytearray, chance: random.Random) -> bytearray:
    return data[: chance.randrange(1, len(data))]


def swap_in_another(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data))
    data[start : start + 2048] = chance.randbytes(2048)
    return data


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, flip_in_head, extreme_numbers, cut_out, repeat_part, truncate, swap_in_another),
)


@pytest.mark.slow
def test_five_hundred_mutants_cost_themselves_alone(real_clips: Path, tmp_path: Path) -> None:
    originals = [(real_clips / name).read_bytes() for name in SEEDS]
    recipe = PrepRecipe.model_validate({"name": "x", "resize": {"short_side": 64}})
    limits = LimitsTable(seconds=30, memory_mb=1024)
    mutants = tmp_path / "mutants"
    mutants.mkdir()

    def jobs():
        for number in range(MUTANTS):
            chance = random.Random(number)
            which = number % len(SEEDS)
            data = bytearray(originals[which])
            data = MUTATIONS[number // len(SEEDS) % len(MUTATIONS)](data, chance)
            suffix = Path(SEEDS[which]).suffix
            path = mutants / f"{number:03d}{suffix}"
            path.write_bytes(data)
            yield Job(file_row(path, path.name), recipe, tmp_path / "spool" / str(number))

    outcomes = []
    with IsolatedWorkers(2, limits) as workers:
        for result in workers.results(jobs()):
            outcomes.append(result.problem)
            assert bool(result.problem) != bool(result.clips)
    assert len(outcomes) == MUTANTS
    told = "\n".join(sorted(set(outcomes)))
    assert "failed inside fdream" not in told, told
    assert "crashed" not in told, told
    assert "hung" not in told, told
    assert "processor time" not in told, told
    refused = np.mean([bool(problem) for problem in outcomes])
    assert 0.2 < refused < 0.95  # the mutations reach both the decoder and the readers before it
