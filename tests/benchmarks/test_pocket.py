"""The scorer as a command, with the packaged model and as little of it as counts."""

import json

import pytest

from benchmarks import pocket, pocket_runs, pocket_sweep
from benchmarks.judges.protocol import FIRST_SEED, cases
from benchmarks.judges.score import Verdict
from benchmarks.pocket_runs import Journal
from fdream.core.errors import UsageError
from fdream.core.report import SilentReporter
from fdream.data.spriteworld import sprites, world
from fdream.data.spriteworld.world import held_out
from fdream.training.pictures import HELD_OUT_SEED

LITTLE = ["--clips", "1", "--steps", "1", "--prior-steps", "1", "--threads", "1"]
SHARE = {"right", "of", "percent", "interval_percent", "confusion"}


def test_no_case_was_ever_trained():
    triples = [(c.shown.facts.thing, c.shown.facts.scene, c.shown.facts.motion) for c in cases(400)]
    assert all(held_out(*triple) for triple in triples)
    assert len(set(triples)) > 200
    # Nor are they what the held-out loss of training is measured on.
    assert FIRST_SEED > HELD_OUT_SEED + 1_000_000


def test_a_score_is_a_table_on_stderr_and_json_on_stdout(capsys, tmp_path):
    out = tmp_path / "score.json"
    assert pocket.main([*LITTLE, "--runs", "pair,split", "--out", str(out)]) == 0
    written = capsys.readouterr()
    score = json.loads(written.out)
    assert json.loads(out.read_text()) == score
    assert score["cases"] == 1
    assert set(score["runs"]) == {"pair", "split"}
    for run in score["runs"].values():
        for question in ("object", "scene", "motion", "camera"):
            assert set(run[question]) >= SHARE
            assert run[question]["of"] == 1
        assert run["first_frame_db"]["of"] == 1
    assert score["stages"]["generator"]["asked"]["steps"] == 1
    assert set(score["ceilings_percent"]["clip"]) == {"real", "round_trip"}
    assert set(score["ceilings_percent"]["still"]) == {"real", "round_trip", "blob"}
    assert "first_frame_db" in written.err
    assert "round trip" in written.err


def test_stills_alone_need_no_generator(capsys):
    assert pocket.main([*LITTLE, "--stage", "t2i"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert set(score["runs"]) == {"still"}
    assert "generator" not in score["stages"]


def test_without_the_font_stills_are_judged_and_not_compared(capsys, monkeypatch):
    monkeypatch.setattr("fdream.data.spriteworld.sprites.FONT_PATHS", ())
    assert pocket.main([*LITTLE, "--stage", "t2i"]) == 0
    still = json.loads(capsys.readouterr().out)["runs"]["still"]
    assert still["object"]["of"] == 1
    assert "sprite_levels" not in still


def test_without_the_font_real_first_frames_are_skipped_and_said(capsys, monkeypatch):
    monkeypatch.setattr("fdream.data.spriteworld.sprites.FONT_PATHS", ())
    monkeypatch.setattr(pocket_runs, "IMAGE_SHARE", 1)
    for drawn in (sprites.sprite, sprites.rider, world._scaled):
        drawn.cache_clear()
    assert pocket.main([*LITTLE, "--runs", "image"]) == 0
    written = capsys.readouterr()
    assert "not installed" in json.loads(written.out)["runs"]["image"]["skipped"]
    assert "run image is skipped" in written.err


def test_an_unknown_run_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        pocket.main(["--runs", "pear"])
    assert refused.value.code == 2
    assert "'pear' is none of still, pair, split, image" in capsys.readouterr().err


def test_a_journal_remembers_verdicts(tmp_path):
    path = tmp_path / "journal.jsonl"
    verdict = Verdict(7, {"object": "fox"}, {"object": ["cat"]}, {"seconds": 1.5})
    Journal(path, {"weights": "a"}).add("pair", verdict)
    again = Journal(path, {"weights": "a"})
    assert again.find("pair", 7) == verdict
    assert again.find("split", 7) is None


def test_the_same_words_are_asked_once(monkeypatch):
    report = SilentReporter()
    examination = pocket.examination(pocket.parse(LITTLE), report)
    asked = cases(40)
    halves = {
        run: [
            (pair.appearance, pair.motion) for pair in (examination.captions(run, c) for c in asked)
        ]
        for run in ("pair", "split")
    }
    alike = {
        c.index for c, p, s in zip(asked, halves["pair"], halves["split"], strict=True) if p == s
    }
    assert 30 < len(alike) < 40
    journal = Journal(None, {})
    for case in asked:
        journal.add("pair", Verdict(case.index, {"object": "from pair"}, {}, {}))
    monkeypatch.setattr(
        pocket_runs.Examination,
        "ask",
        lambda self, run, case: Verdict(case.index, {"object": run}, {}, {}),
    )
    found = pocket_runs.examine(examination, "split", asked, journal, report)
    assert {v.index for v in found if v.truth["object"] == "from pair"} == alike


def test_parts_are_all_cases_together():
    some = ["--clips", "7", "--journal", "unread.jsonl", "--part"]
    parts = [pocket.parse([*some, f"{k}/3"]).questions for k in (1, 2, 3)]
    assert sorted(case.index for part in parts for case in part) == list(range(7))
    assert [len(part) for part in parts] == [3, 2, 2]


@pytest.mark.parametrize("wrong", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_a_part_that_is_none_is_told_the_rule(wrong, capsys):
    with pytest.raises(SystemExit):
        pocket.parse(["--journal", "unread.jsonl", f"--part={wrong}"])
    assert f"{wrong!r} is not K/N with K from 1 to N" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "give --journal FILE"),
        (["--journal", "unread.jsonl", "--out", "whole.json"], "--out to the last process"),
        (["--journal", "unread.jsonl", "--clips", "1"], "no case is left"),
    ],
)
def test_a_part_whose_answers_would_be_lost_or_taken_for_all_is_refused(more, told, capsys):
    with pytest.raises(SystemExit):
        pocket.parse(["--part", "2/2", *more])
    assert told in capsys.readouterr().err


def test_a_journal_goes_on_from_another_process(tmp_path):
    path = tmp_path / "journal.jsonl"
    first = Journal(path, {"weights": "a"})
    first.add("pair", Verdict(3, {}, {}, {}))
    assert Journal(path, {"weights": "a"}).find("pair", 3) is not None
    assert list(tmp_path.iterdir()) == [path]


def test_a_journal_about_other_weights_is_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    Journal(path, {"weights": "a"})
    with pytest.raises(UsageError, match="other weights or settings"):
        Journal(path, {"weights": "b"})


def test_a_sweep_has_a_point_for_every_value(capsys):
    arguments = ["prior-steps", "1", "2", "--run", "still", "--clips", "2", "--threads", "1"]
    assert pocket_sweep.main(arguments) == 0
    swept = json.loads(capsys.readouterr().out)
    assert [point["value"] for point in swept["points"]] == ["1", "2"]
    assert [p["stages"]["prior"]["asked"]["steps"] for p in swept["points"]] == [1, 2]
    assert all(point["object"]["of"] == 2 for point in swept["points"])
