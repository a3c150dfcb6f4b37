"""One pass: every video once; batches, workers and interruptions change no row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fdream.core.device import DeviceManager
from fdream.core.errors import DataError
from fdream.core.report import SilentReporter
from fdream.core.sizes import Size
from fdream.evals.clips import Clip, ClipRule
from fdream.evals.figures import frechet_figures
from fdream.evals.measuring import Measured, Pass, SetMeasurer
from fdream.evals.row_store import RowStore
from fdream.evals.sets import FileSource, drawn_order, find_sources, sprite_sources
from fdream.stages import registry
from fdream.stages.interfaces import ClipBatch, FigureSpec, Metric
from tests.evals.conftest import WriteVideos, numbered


class Light(Metric):
    """Mean brightness; remembers how often it looked, and can be told to fail."""

    figures: ClassVar = (FigureSpec("light", "light", "mean", "neither", temporal=True),)

    def __init__(self, fail_after: int | None = None) -> None:
        self.seen = 0
        self.largest = 0
        self._fail_after = fail_after

    def measure(self, clips: ClipBatch) -> dict[str, Any]:
        if self._fail_after is not None and self.seen >= self._fail_after:
            raise KeyboardInterrupt
        self.seen += len(clips.frames)
        self.largest = max(self.largest, len(clips.frames))
        return {"light": clips.frames.mean((1, 2, 3, 4), dtype=np.float64)}


RULE = ClipRule(frames=4, start="random", size=Size(16, 16))


def go(
    folder: Path, cache: Path, metric: Metric, *, batch: int = 4, workers: int = 2,
    rule: ClipRule = RULE, wanted: int | None = None, backwards: bool = False, frozen: bool = False,
) -> Measured:  # fmt: skip
    sources = find_sources(str(folder))
    names = frozenset({"light"}) if frozen else frozenset()
    job = Pass(rule, {"light": metric}, cache, batch, workers, names)
    order = drawn_order(sources[::-1] if backwards else sources, 0)
    return SetMeasurer(job, SilentReporter()).measure(order, wanted, "videos")


def light(measured: Measured, kind: Any = "clip") -> list[float]:
    return measured.columns["light", kind]["light"].tolist()


def test_all_metrics_share_one_decoding(
    write_videos: WriteVideos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    read = FileSource.read

    def counted(source: FileSource, rule: ClipRule) -> Clip:
        decoded.append(source.key)
        return read(source, rule)

    monkeypatch.setattr(FileSource, "read", counted)
    metrics = {"one": Light(), "two": Light(), "three": Light()}
    job = Pass(RULE, metrics, tmp_path / "cache", frozen=frozenset({"one", "two"}))
    sources = find_sources(str(write_videos("videos", 5)))
    SetMeasurer(job, SilentReporter()).measure(sources, None, "videos")
    assert sorted(decoded) == sorted(source.key for source in sources)
    assert [metric.seen for metric in metrics.values()] == [10, 10, 5]


def test_batch_workers_and_file_order_change_nothing(
    write_videos: WriteVideos, tmp_path: Path
) -> None:
    folder = write_videos("videos", 9)
    found = [
        go(folder, tmp_path / f"cache{k}", Light(), batch=batch, workers=workers, backwards=back)
        for k, (batch, workers, back) in enumerate([(1, 1, False), (4, 3, True), (20, 2, False)])
    ]
    assert light(found[0]) == light(found[1]) == light(found[2])
    assert found[0].keys == found[1].keys == found[2].keys


def test_a_second_run_looks_at_nothing_again(write_videos: WriteVideos, tmp_path: Path) -> None:
    folder = write_videos("videos", 5)
    first = go(folder, tmp_path / "cache", Light())
    again = Light()
    second = go(folder, tmp_path / "cache", again)
    assert again.seen == 0
    assert light(first) == light(second)
    assert (first.fps, first.codecs) == (second.fps, second.codecs)


def test_an_interrupted_run_goes_on(
    write_videos: WriteVideos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fdream.evals.row_store._SECONDS", 0.0)
    folder = write_videos("videos", 9)
    with pytest.raises(KeyboardInterrupt):
        go(folder, tmp_path / "cache", Light(fail_after=4), batch=2)
    rest = Light()
    assert light(go(folder, tmp_path / "cache", rest)) == light(
        go(folder, tmp_path / "fresh", Light())
    )
    assert rest.seen == 5


def test_a_damaged_cache_is_measured_again(write_videos: WriteVideos, tmp_path: Path) -> None:
    folder = write_videos("videos", 3)
    expected = light(go(folder, tmp_path / "cache", Light()))
    for part in (tmp_path / "cache").rglob("*.safetensors"):
        part.write_bytes(part.read_bytes()[:40])
    for facts in (tmp_path / "cache").rglob("facts.jsonl"):
        facts.write_text(facts.read_text()[:-9])
    again = Light()
    assert light(go(folder, tmp_path / "cache", again)) == expected
    assert again.seen == 3


def test_another_rule_is_another_measurement(write_videos: WriteVideos, tmp_path: Path) -> None:
    folder = write_videos("videos", 3)
    go(folder, tmp_path / "cache", Light())
    for rule in (ClipRule(frames=5), ClipRule(frames=4, stride=2), ClipRule(frames=4, fps=4)):
        other = Light()
        go(folder, tmp_path / "cache", other, rule=rule)
        assert other.seen == 3


def test_a_changed_video_is_measured_again(write_videos: WriteVideos, tmp_path: Path) -> None:
    go(write_videos("videos", 3), tmp_path / "cache", Light())
    again = Light()
    go(write_videos("videos", 3, seed=7), tmp_path / "cache", again)
    assert again.seen == 3


def test_videos_of_several_sizes_and_lengths_are_measured_as_they_are(
    write_videos: WriteVideos, tmp_path: Path
) -> None:
    folder = write_videos("videos", ["a", "b"], frames=6)
    write_videos("videos", ["c", "d"], frames=9)
    from fdream.data.encoding import Encoding
    from fdream.data.writers import save_video

    save_video(folder / "e.apng", numbered(6, 9, 30, 18), 8, Encoding("apng"))
    native = go(folder, tmp_path / "cache", Light(), rule=ClipRule(frames=4, size=None))
    assert dict(native.sizes) == {"24x16": 4, "18x30": 1}
    assert len(light(native)) == 5


def test_what_cannot_be_read_is_listed_and_the_rest_is_measured(
    write_videos: WriteVideos, tmp_path: Path
) -> None:
    folder = write_videos("videos", 4)
    write_videos("videos", ["short"], frames=2)
    (folder / "broken.mp4").write_bytes(b"not a video")
    found = go(folder, tmp_path / "cache", Light())
    assert len(found.keys) == 4
    assert {rejected.key for rejected in found.rejected} == {"short", "broken"}


def test_as_many_as_wanted_are_measured_whatever_is_broken(
    write_videos: WriteVideos, tmp_path: Path
) -> None:
    folder = write_videos("videos", 6)
    for name in ("x", "y", "z"):
        (folder / f"{name}.mp4").write_bytes(b"not a video")
    assert len(go(folder, tmp_path / "cache", Light(), wanted=5).keys) == 5
    assert len(go(folder, tmp_path / "cache", Light(), wanted=50).keys) == 6


def test_a_frozen_clip_is_its_first_frame(write_videos: WriteVideos, tmp_path: Path) -> None:
    folder = write_videos("videos", 2)
    rule = ClipRule(frames=4, size=Size(16, 16))
    found = go(folder, tmp_path / "cache", Light(), rule=rule, frozen=True)
    moving, frozen = np.array(light(found)), np.array(light(found, "frozen"))
    np.testing.assert_allclose(moving - frozen, 12 * 1.5 / 3, atol=1e-5)  # red 0, 12, 24, 36


class Broken(Light):
    def measure(self, clips: ClipBatch) -> dict[str, Any]:
        return {"light": np.full(len(clips.frames), np.nan)}


def test_values_that_are_not_finite_are_an_error_with_the_videos_name(
    write_videos: WriteVideos, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"clip00\d.apng: light measures light values"):
        go(write_videos("videos", 2), tmp_path / "cache", Broken())


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = RowStore(tmp_path, "m", {"a": 1})
    for name in "abcdef":
        store.add([name], {"x": np.array([[ord(name), 0]], float)})
        store.flush()
    assert store.rows(list("fdb"))["x"][:, 0].tolist() == [102, 100, 98]
    assert "a" in RowStore(tmp_path, "m", {"a": 1})
    assert "a" not in RowStore(tmp_path, "m", {"a": 2})


def test_fvd_sprite_depends_on_batch_and_threads_by_less_than_a_millionth(tmp_path: Path) -> None:
    import torch

    from fdream.data.spriteworld.world import SpriteWorld

    world = SpriteWorld(cast="plain", size=Size(64, 64), frames=4)
    metric = registry.build("metric", "fvd-sprite", {}, device=DeviceManager.choose("cpu"))
    rule = ClipRule(frames=4, size=Size(64, 64))
    values = []
    threads = torch.get_num_threads()
    for batch, count in ((1, 1), (6, 2)):
        torch.set_num_threads(count)
        job = Pass(rule, {"fvd-sprite": metric}, tmp_path / f"{batch}", batch, 2)
        sets = [
            SetMeasurer(job, SilentReporter()).measure(
                sprite_sources(world, first, 15, 8.0), None, "clips"
            )
            for first in (0, 1000)
        ]
        real, fake = (found.columns["fvd-sprite", "clip"]["features"] for found in sets)
        made = frechet_figures(metric.figures[0], real, fake, None, {})
        values.append({figure.name: figure.value for figure in made})
    torch.set_num_threads(threads)
    alone, together = values
    for name, value in alone.items():
        assert together[name] == pytest.approx(value, rel=1e-6), name
