"""What people read is what was measured."""

from benchmarks.judges.score import Verdict, figures
from benchmarks.judges.tables import markdown, table

QUESTIONS = ("object", "scene", "motion")


def scores(right: int) -> dict:
    verdicts = [
        Verdict(
            k,
            dict.fromkeys(QUESTIONS, "a"),
            {question: ["a" if k < right else "b"] for question in QUESTIONS},
            {"first_frame_db": 31.26, "background_levels": 1.24, "seconds": 9.0},
        )
        for k in range(100)
    ]
    return figures(verdicts)


def test_a_row_has_share_interval_bar_and_ceilings():
    lines = table("pair", scores(50), {"real": scores(99), "round_trip": scores(98)})
    row = next(line for line in lines if line.startswith("object"))
    counted = ["object", "50/100", "50.0", "40.4", "..", "59.6", "90"]
    assert row.split() == [*counted, "99.0", "98.0", "-"]
    assert any("mean 31.26 (bar >= 30 dB)" in line for line in lines)


def test_markdown_has_a_row_for_every_bar():
    result = {
        "runs": {"pair": scores(50), "split": scores(100)},
        "ceilings_percent": {"clip": {"round_trip": dict.fromkeys(QUESTIONS, 98.0)}},
    }
    lines = markdown(result, {"pair": "true halves", "split": "through t2v"}).splitlines()
    assert lines[0] == "| | bar | true halves | through t2v | ceiling |"
    assert lines[2] == (
        "| object right | 90 % | 50.0 % (40.4 to 59.6) | 100.0 % (96.3 to 100.0) | 98.0 % |"
    )
    assert lines[-2:] == [
        "| first frame | >= 30 dB | 31.3 | 31.3 | |",
        "| background | < 3/255 | 1.2 | 1.2 | |",
    ]
    assert len({line.count("|") for line in lines}) == 1
