"""Shards for the video objective: what is kept, what is fresh, what cannot be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fdream.core.errors import DataError, RecipeError
from fdream.core.report import SilentReporter
from fdream.training.clips.dataset import ClipCoder, Views
from fdream.training.clips.index import index_shards
from fdream.training.clips.shards import ShardClips, ShardsOptions, survey
from fdream.training.objective import Share

QUIET = SilentReporter()
CELL = 8


class Coder:
    """Counts what it is asked; its latents are the mean colours of cells."""

    def __init__(self) -> None:
        self.asked = {"latents": 0, "flow": 0, "features": 0}

    def plan(self, **changes: Any) -> ClipCoder:
        made = ClipCoder(
            encode=self.encode,
            flow=self.flow,
            features=self.features,
            downscale=CELL,
            channels=3,
            vae_key="v",
            teacher="t",
            features_key="f",
            dtype="float32",
        )
        return replace(made, **changes)

    def encode(self, frames: np.ndarray) -> torch.Tensor:
        self.asked["latents"] += 1
        video = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 255
        return torch.nn.functional.avg_pool3d(video, (1, CELL, CELL))

    def flow(self, sample: Any) -> np.ndarray:
        self.asked["flow"] += 1
        _, _, frames, height, width = sample.frames.shape
        flow = torch.zeros(1, 3, frames - 1, height // CELL, width // CELL)
        flow[:, 0] = sample.fps[0]
        return flow.numpy()

    def features(self, first: np.ndarray, pairs: list[Any]) -> dict[str, Any]:
        self.asked["features"] += 1
        text = torch.full((1, 2, 4), float(len(pairs[0].appearance)))
        return {"text": text, "added": {"time_ids": torch.full((1, 2), 1025.0)}}


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, write_shard, clip_file, sprite_frames):
    """Six clips, two of them wide, and one that is no video."""
    clips = [clip_file(f"c{k}", sprite_frames(k)) for k in range(4)]
    clips += [clip_file(f"w{k}", sprite_frames(9 + k, height=32, width=64)) for k in range(2)]
    clips += [clip_file("bad", sprite_frames(20), data=b"no video", noted=False)]
    return write_shard(tmp_path_factory.mktemp("written") / "0.tar", clips)


@pytest.fixture
def shard(tmp_path: Path, written: Path) -> Path:
    """The same, in a folder of this test."""
    place = tmp_path / "shards" / "00000.tar"
    place.parent.mkdir()
    place.write_bytes(written.read_bytes())
    return place


def options(shard: Path, **changes: Any) -> ShardsOptions:
    given = {"sizes": ("32x32", "64x32"), "frames": (4,), "shards": str(shard.parent), **changes}
    return ShardsOptions.model_validate(given)


def prepared(
    shard: Path, coder: ClipCoder, validation: int = 1, share: Share | None = None, **changes: Any
) -> ShardClips:
    clips = ShardClips(options(shard, **changes), validation, seed=0, workers=2)
    clips.prepare(coder, shard.parent, share or Share(), QUIET)
    return clips


def draw(clips: ShardClips, step: int, size: int = 2, share: Share | None = None) -> Views:
    return clips.draw(step, size, share or Share(), torch.Generator())


def epoch(clips: ShardClips, steps: int = 12) -> list[Views]:
    return [draw(clips, step) for step in range(steps)]


def test_kept_views_are_what_the_networks_say_of_the_frames(shard: Path) -> None:
    coder = Coder()
    for views in epoch(prepared(shard, coder.plan())):
        first = torch.nn.functional.avg_pool2d(views.first_frame / 2 + 0.5, CELL)
        assert torch.allclose(views.latents[:, :, 0], first, atol=2e-3)
        assert views.latents.shape[2] == 4
        assert views.latents.shape[-1] in (4, 8)
        assert (views.target.flow[:, 0] == views.fps[:, None, None, None]).all()
        assert views.features["text"].shape == (2, 2, 4)
        assert views.features["added"]["time_ids"][0, 0] == 1025  # exact, not in half precision
        assert views.counts is None


def test_what_is_kept_is_computed_once_and_again_only_if_what_it_depends_on_changes(
    shard: Path,
) -> None:
    first = Coder()
    prepared(shard, first.plan())
    assert first.asked == {"latents": 6, "flow": 6, "features": 6}
    again = Coder()
    prepared(shard, again.plan())
    assert again.asked == {"latents": 0, "flow": 0, "features": 0}
    for change, fresh in (
        ({"vae_key": "w"}, {"latents"}),
        ({"teacher": "u"}, {"flow"}),
        ({"features_key": "g"}, {"features"}),
        ({"dtype": "bfloat16"}, {"latents", "features"}),
    ):
        other = Coder()
        prepared(shard, other.plan(**change))
        assert {kind for kind, count in other.asked.items() if count} == fresh, change
    for change in ({"stride": (1, 2), "frames": (3,)}, {"views": 2}):
        other = Coder()
        prepared(shard, other.plan(), **change)
        assert all(other.asked.values()), change


def test_a_clip_that_was_replaced_is_never_mistaken(
    shard: Path, write_shard, clip_file, sprite_frames
) -> None:
    before = prepared(shard, Coder().plan())
    write_shard(shard, [clip_file(f"c{k}", sprite_frames(30 + k)) for k in range(4)])
    coder = Coder()
    after = prepared(shard, coder.plan())
    assert coder.asked["latents"] == 4
    with pytest.raises(DataError, match="changed since"):
        [see.read() for see in index_of(before)]
    assert draw(after, 0).latents is not None


def index_of(clips: ShardClips) -> list[Any]:
    return [one.view.clip for part in clips._encoded.values() for one in part]


@pytest.mark.parametrize("cache", [True, False])
def test_a_clip_that_is_no_video_is_named_and_no_other_takes_its_place(
    shard: Path, cache: bool
) -> None:
    clips = prepared(shard, Coder().plan(), cache=cache)
    named = {name for views in epoch(clips) for name in views.names}
    assert len(named) == 5
    trouble = clips.troubles()["00000.tar/bad"]
    assert "cannot be read as a video" in trouble


def test_without_the_store_every_step_sees_other_frames(shard: Path) -> None:
    clips = prepared(shard, Coder().plan(), cache=False, frames=(3,), stride=(1, 2))
    assert draw(clips, 0).latents is None
    rates = {float(fps) for views in epoch(clips, 30) for fps in views.fps}
    assert rates == {8.0, 4.0}
    again = prepared(shard, Coder().plan(), cache=False, frames=(3,), stride=(1, 2))
    for one, two in zip(epoch(clips), epoch(again), strict=True):
        assert one.names == two.names
        assert torch.equal(one.frames, two.frames)


def test_a_clip_that_fails_midway_counts_for_nothing(
    tmp_path: Path, write_shard, clip_file, sprite_frames
) -> None:
    whole = [clip_file(f"c{k}", sprite_frames(k)) for k in range(3)]
    # Its index promises more than it holds, as that of a file whose download broke off.
    short = clip_file("short", sprite_frames(9, frames=3), promised=6)
    shard = write_shard(tmp_path / "s" / "0.tar", [*whole, short])
    kept = prepared(shard, Coder().plan(), sizes=("32x32",))
    fresh = prepared(shard, Coder().plan(), sizes=("32x32",), cache=False)
    assert "short" not in str([views.names for views in epoch(kept)])
    assert "ends after 3" in kept.troubles()["0.tar/short"]
    shown = [
        (name, counts)
        for views in epoch(fresh)
        for name, counts in zip(views.names, views.counts, strict=True)
    ]
    assert {name for name, counts in shown if not counts.any()} <= {"0.tar/short"}
    if any(name == "0.tar/short" for name, _ in shown):
        assert "ends after 3" in fresh.troubles()["0.tar/short"]


def test_the_overlay_is_left_out_where_prep_found_one(shard: Path) -> None:
    from PIL import Image

    folder = shard.parent / "overlay"
    folder.mkdir()
    mask = np.zeros((32, 32), np.uint8)
    mask[1:3, 1:12] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(np.zeros((32, 32, 4), np.uint8), "RGBA").save(folder / "overlay.png")
    (folder / "overlay.json").write_text(json.dumps({"clips": 20}))
    wanted = torch.ones(4, 4)
    wanted[0, :2] = 0
    for cache in (True, False):
        for views in epoch(prepared(shard, Coder().plan(), cache=cache)):
            square = views.first_frame.shape[-1] == 32
            assert torch.equal(views.counts[0, 0, 0], wanted if square else torch.ones(4, 8))
    assert draw(prepared(shard, Coder().plan(), overlay="ignore"), 0).counts is None


@pytest.mark.parametrize("cache", [True, False])
def test_two_processes_share_each_batch(shard: Path, cache: bool) -> None:
    parts = [prepared(shard, Coder().plan(), share=Share(k, 2), cache=cache) for k in (0, 1)]
    for step in range(8):
        whole = draw(parts[0], step)
        names = [draw(part, step, share=Share(k, 2)).names for k, part in enumerate(parts)]
        assert [*names[0], *names[1]] == whole.names


def test_the_index_is_remembered_and_counts_what_nobody_noted(
    tmp_path: Path, write_shard, clip_file, sprite_frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, bare = (
        write_shard(tmp_path / f"{n}.tar", [clip_file("a", sprite_frames(1), noted=n)])
        for n in (True, False)
    )
    found = index_shards([str(noted), str(bare)], QUIET)
    facts = [(r.height, r.width, r.frames, r.fps, r.appearance, r.motion) for r in found]
    assert facts[0] == facts[1] == (32, 32, 6, 8.0, "a thing", "it moves")
    monkeypatch.setattr("fdream.training.clips.index._scan", None)  # whoever calls it fails
    assert index_shards([str(noted), str(bare)], QUIET) == found


def test_shards_that_hold_nothing_are_named_with_what_to_do(
    tmp_path: Path, write_shard, shard: Path
) -> None:
    with pytest.raises(DataError, match="no shards there"):
        survey(options(tmp_path / "none" / "x.tar"), 1, QUIET)
    empty = write_shard(tmp_path / "empty" / "0.tar", [])
    with pytest.raises(DataError, match="of 0 clips none"):
        survey(options(empty), 1, QUIET)
    with pytest.raises(DataError, match=r"6 held out by data.validation = 64; 1 cannot be read"):
        survey(options(shard), 64, QUIET)
    cut = tmp_path / "cut" / "0.tar"
    cut.parent.mkdir()
    cut.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"0\.tar"):
        survey(options(cut), 1, QUIET)


def test_a_shard_that_goes_ends_the_run(shard: Path) -> None:
    clips = prepared(shard, Coder().plan(), cache=False)
    shard.unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        draw(clips, 0)


def test_sizes_that_the_latents_cannot_have_are_refused_with_the_nearest(shard: Path) -> None:
    with pytest.raises(RecipeError, match=r"36x32.*multiples of 8; try 32x32"):
        prepared(shard, Coder().plan(), sizes=("36x32",))
