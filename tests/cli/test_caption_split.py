"""``fdream caption-split``: every format, bad lines, resuming, workers."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fdream.data.caption_tables import partial, text
from fdream.data.caption_tables.rows import recognise
from fdream.pipelines import caption_job, split_captions

PAIRS = {
    "a corgi surfing, the camera zooms in": (
        "a corgi on a surfboard",
        "surfing, the camera zooms in",
    ),
    "a cat sleeping on a sofa": ("a cat sleeping on a sofa", "still"),
    "a panda drinking coffee in a cafe": ("a panda drinking coffee in a cafe", "drinking coffee"),
}
CAPTIONS = list(PAIRS)


def lines_of(caption: str) -> str:
    return "\t".join((caption, *PAIRS[caption]))


def json_lines(ran_out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in ran_out.splitlines()]


def test_lines_become_tab_separated(fdream) -> None:
    ran = fdream("caption-split", stdin="\n".join(CAPTIONS).encode())
    assert ran.code == 0
    assert ran.out.splitlines() == [lines_of(caption) for caption in CAPTIONS]
    assert ran.err == "3 captions split\n"


def test_an_empty_line_keeps_its_place(fdream) -> None:
    ran = fdream("caption-split", stdin=b"a cat sleeping on a sofa\n\n  \na dog runs\n")
    assert ran.out.splitlines()[1:3] == ["\t\t", "\t\t"]
    assert ran.out.splitlines()[3] == "a dog runs\ta dog\truns"


def test_json_lines_are_added_to_and_else_untouched(fdream) -> None:
    given = (
        b'{"id": 1.0, "big": 12345678901234567890123,  "caption": "a cat sleeping on a sofa"}\n'
        b'{"caption":"a dog runs","x":"\xc3\xa9","nested":{"caption":1}}\r\n'
    )
    ran = fdream("caption-split", stdin=given)
    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert first == (
        '{"id": 1.0, "big": 12345678901234567890123,  "caption": "a cat sleeping on a sofa", '
        '"appearance": "a cat sleeping on a sofa", "motion": "still"}'
    )
    assert second.startswith('{"caption":"a dog runs","x":"\u00e9","nested":{"caption":1}, ')
    assert json.loads(second)["motion"] == "runs"


def test_csv_is_added_to_and_else_untouched(fdream) -> None:
    given = b'videoid,"name",n\r\n7,"a dog runs",007\r\n8,"people, walking\n on rocks",1e5\r\n'
    ran = fdream("caption-split", stdin=given)
    assert ran.code == 0
    assert ran.stdout.decode() == (
        'videoid,"name",n,appearance,motion\r\n'
        '7,"a dog runs",007,a dog,runs\r\n'
        '8,"people, walking\n on rocks",1e5,"people, on rocks",walking\r\n'
    )


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_csv_keeps_its_delimiter(fdream, delimiter: str) -> None:
    given = f"id{delimiter}caption\n1{delimiter}a dog runs\n".encode()
    assert fdream("caption-split", stdin=given).out.splitlines() == [
        delimiter.join(("id", "caption", "appearance", "motion")),
        delimiter.join(("1", "a dog runs", "a dog", "runs")),
    ]


def test_csv_without_rows_keeps_its_header(fdream) -> None:
    ran = fdream("caption-split", stdin=b"id,caption\n")
    assert (ran.code, ran.out) == (0, "id,caption,appearance,motion\n")


def test_no_input_at_all_is_no_row(fdream) -> None:
    assert fdream("caption-split", stdin=b"").stdout == b""


def test_parquet_keeps_types_and_columns(fdream, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table(
        {
            "caption": [*CAPTIONS, None] * 700,
            "size": pa.array([[1, 2]] * 2800, pa.list_(pa.int16())),
            "when": pa.array([5] * 2800, pa.timestamp("us")),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    ran = fdream("caption-split", str(tmp_path / "in.parquet"), "-o", str(out), "--details")
    assert ran.code == 4
    assert "row 4: 'caption' is null, not a string" in ran.err
    result = pq.read_table(out)
    assert result.schema.names == [
        *table.schema.names,
        *["appearance", "motion"],
        "camera",
        "confidence",
        "note",
    ]
    assert result.schema.field("size").type == pa.list_(pa.int16())
    assert result.num_rows == 2100
    assert result["motion"].to_pylist()[:3] == [motion for _, motion in PAIRS.values()]
    piped = fdream("caption-split", stdin=(tmp_path / "in.parquet").read_bytes())
    assert pq.read_table(io.BytesIO(piped.stdout)).num_rows == 2100
    as_json = fdream("caption-split", "--json", str(tmp_path / "in.parquet"))
    assert json_lines(as_json.out)[0]["size"] == [1, 2]


def test_what_is_no_parquet_says_so(fdream, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but no more")
    ran = fdream("caption-split", str(tmp_path / "x.parquet"))
    assert ran.code == 4
    assert "not a Parquet file" in ran.err


def test_details_add_camera_confidence_and_note(fdream) -> None:
    ran = fdream("caption-split", "--json", "--details", stdin=CAPTIONS[0].encode())
    (row,) = json_lines(ran.out)
    assert row["camera"] == "zoom in"
    assert 0 < row["confidence"] <= 1
    assert row["note"] == ""


def test_other_languages_are_counted(fdream) -> None:
    ran = fdream("caption-split", stdin=b"ein Mann trinkt Kaffee in einem kleinen Cafe\na dog runs")
    assert ran.err == "2 captions split, 1 not English\n"


BAD = {
    "broken JSON": (b'{"caption": "a dog runs"}\n{"caption": \n{"caption": "a cat jumps"}\n', [2]),
    "no object": (b'{"caption": "a dog runs"}\n[1]\n"x"\n3\n', [2, 3, 4]),
    "no caption": (b'{"caption": "a dog runs"}\n{"x": 1}\n', [2]),
    "no string": (b'{"caption": "a dog runs"}\n{"caption": null}\n{"caption": 3}\n', [2, 3]),
    "too deep": (b'{"caption": "a dog runs"}\n{"caption": ' + b"[" * 100_000 + b"\n", [2]),
    "not UTF-8": (b'{"caption": "a dog runs"}\n{"caption": "\xff"}\n', [2]),
    "cells missing": (b"caption,x\na dog runs,1\na cat\na,b,c\n", [3, 4]),
    "quote never closed": (b'caption,x\na dog runs,1\n"a cat,2\na dog jumps,3\n', [3]),
    "quote inside": (b'caption,x\na dog runs,1\n"a "cat"",2\n', [3]),
    "CSV not UTF-8": (b"caption,x\na dog runs,1\na \xe9,2\n", [3]),
    "line not UTF-8": (b"a dog runs\na \xe9\na cat jumps\n", [2]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lines_are_told_and_the_rest_goes_on(fdream, case: str) -> None:
    given, numbers = BAD[case]
    ran = fdream("caption-split", stdin=given)
    assert ran.code == 4
    for number in numbers:
        assert f"warning: standard input, line {number}: " in ran.err
    assert f"{len(numbers)} of " in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err
    told = [line for line in ran.err.splitlines() if line.startswith("warning")]
    assert len(told) == len(numbers)
    assert "a dog runs" in ran.out
    if b"jumps" in given:
        assert "jumps" in ran.out


def test_a_flood_of_bad_lines_is_counted_not_told(fdream) -> None:
    ran = fdream("caption-split", "-f", "jsonl", stdin=b"x\n" * 500)
    assert ran.err.count("warning") == caption_job._SHOWN
    assert "500 of 500" in ran.err


def test_an_endless_line_is_a_bad_one(fdream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LONGEST_LINE", 100)
    ran = fdream("caption-split", stdin=b"a dog runs\n" + b"x" * 1000 + b"\na cat jumps\n")
    assert ran.code == 4
    assert ran.out.splitlines() == ["a dog runs\ta dog\truns", "a cat jumps\ta cat\tjumps"]


@pytest.mark.parametrize(
    "wish",
    [
        ["--column", "nothing"],
        ["no-such-file.csv"],
        ["--format", "csv"],
    ],
)
def test_a_table_without_captions_is_4(fdream, in_tmp: Path, wish: list[str]) -> None:
    ran = fdream("caption-split", *wish, stdin=b"id,size\n1,2\n" if "nothing" in wish else b"a b\n")
    assert ran.code == 4
    assert ran.out == ""


@pytest.mark.parametrize(
    "wish",
    [
        ["--format", "xml"],
        ["--splitter", "whole:x"],
        ["--option", "nonsense"],
        ["--option", "x=1"],
        ["--resume"],
        ["-o", "out.csv"],
        ["-o", "."],
        ["--workers", "0"],
        ["-o", "x.jsonl", "--resume", "--from-line", "3"],
    ],
)
def test_wrong_wishes_are_2(fdream, in_tmp: Path, wish: list[str]) -> None:
    ran = fdream("caption-split", *wish, stdin=b"a dog runs\n")
    assert ran.code == 2
    assert list(in_tmp.iterdir()) == []


def test_an_ending_that_is_refused_names_one_that_is_not(fdream, in_tmp: Path) -> None:
    ran = fdream("caption-split", "-o", "out.tsv", stdin=b"a dog runs\n")
    assert "name a .txt or .jsonl file" in ran.err


def test_an_unknown_splitter_is_3(fdream) -> None:
    ran = fdream("caption-split", "--splitter", "gramar", stdin=b"a dog runs\n")
    assert ran.code == 3
    assert "Did you mean 'grammar'?" in ran.err


def test_columns_of_that_name_are_replaced_only_if_asked(fdream) -> None:
    given = b"motion,caption\nold,a dog runs\n"
    refused = fdream("caption-split", stdin=given)
    assert refused.code == 4
    assert "--overwrite" in refused.err
    ran = fdream("caption-split", "--overwrite", stdin=given)
    assert ran.out.splitlines() == ["caption,appearance,motion", "a dog runs,a dog,runs"]
    line = b'{"motion": "old", "caption": "a dog runs"}\n'
    assert fdream("caption-split", stdin=line).code == 4
    (row,) = json_lines(fdream("caption-split", "--overwrite", stdin=line).out)
    assert row["motion"] == "runs"


def test_a_named_column_is_read(fdream) -> None:
    ran = fdream("caption-split", "-c", "alt", "--json", stdin=b"caption,alt\nx,a dog runs\n")
    assert json_lines(ran.out) == [
        {"caption": "x", "alt": "a dog runs", "appearance": "a dog", "motion": "runs"}
    ]


def test_a_file_is_written_whole_and_named(fdream, in_tmp: Path) -> None:
    (in_tmp / "in.csv").write_text("id,caption\n1,a dog runs\n")
    ran = fdream("caption-split", "in.csv", "-o", "deep/out.csv")
    assert (ran.code, ran.out) == (0, "deep/out.csv\n")
    assert [path.name for path in (in_tmp / "deep").iterdir()] == ["out.csv"]
    told = fdream("caption-split", "in.csv", "-o", "out.jsonl", "--json")
    assert json.loads(told.out) == {"path": "out.jsonl", "rows": 1, "bad": 0, "notes": {}}
    assert json.loads(Path("out.jsonl").read_text())["motion"] == "runs"


def test_from_line_begins_there(fdream) -> None:
    given = b"id,caption\n1,a dog runs\n2,a cat jumps\n"
    ran = fdream("caption-split", "--from-line", "3", stdin=given)
    assert ran.out.splitlines() == [
        "id,caption,appearance,motion",
        "2,a cat jumps,a cat,jumps",
    ]


def many(kind: str, count: int = 3000) -> bytes:
    rows = [(i, CAPTIONS[i % 3] if i % 7 else "two\nlines, running") for i in range(count)]
    if kind == "jsonl":
        lines = [json.dumps({"id": i, "caption": c}) for i, c in rows]
        lines[500] = "broken"
        return "\n".join(lines).encode()
    table = io.StringIO()
    csv.writer(table).writerows([("id", "caption"), *rows])
    return table.getvalue().encode()


class Interrupted(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_an_interrupted_run_is_gone_on_with(
    fdream, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    Path(f"in.{kind}").write_bytes(many(kind))
    wish = ["caption-split", f"in.{kind}", "-o", f"out.{kind}", "--splitter", "whole"]
    whole = fdream("caption-split", f"in.{kind}", "--splitter", "whole")

    monkeypatch.setattr(partial, "_EVERY_S", 0.0)
    real, batches = split_captions._joined, []

    def break_off(batch, pairs):
        batches.append(batch)
        if len(batches) == 5:
            raise Interrupted
        return real(batch, pairs)

    with monkeypatch.context() as patched:
        patched.setattr(split_captions, "_joined", break_off)
        broken = fdream(*wish)
    assert broken.code == 130
    assert "--resume goes on" in broken.err
    assert not Path(f"out.{kind}").exists()
    with Path(f"out.{kind}.part").open("ab") as part:
        part.write(b"half a row that a crash left")

    other = fdream(*wish, "--resume", "--details")
    assert other.code == 2
    assert "columns added" in other.err

    batches.clear()
    ran = fdream(*wish, "--resume")
    assert ran.code == whole.code
    assert "goes on after line" in ran.err
    assert Path(f"out.{kind}").read_bytes() == whole.stdout
    assert sorted(path.name for path in in_tmp.iterdir()) == [f"in.{kind}", f"out.{kind}"]
    again = fdream(*wish, "--resume")
    assert again.code == 0
    assert "nothing to resume" in again.err


def test_resume_without_a_part_begins(fdream, in_tmp: Path) -> None:
    ran = fdream("caption-split", "-o", "out.txt", "--resume", stdin=b"a dog runs\n")
    assert ran.code == 0
    assert Path("out.txt").read_text() == "a dog runs\ta dog\truns\n"


@pytest.mark.timeout(120)
def test_workers_change_nothing(fdream, in_tmp: Path) -> None:
    Path("in.jsonl").write_bytes(many("jsonl", 1200))
    alone = fdream("caption-split", "in.jsonl")
    shared = fdream("caption-split", "in.jsonl", "--workers", "2")
    assert shared.code == alone.code == 4
    assert shared.stdout == alone.stdout


def test_rows_are_not_read_far_ahead() -> None:
    read = []

    def rows():
        for number in range(1, 100_000):
            read.append(number)
            yield split_captions.Row(number, "a dog runs")

    done = split_captions.split_rows(rows(), split_captions.SplitterChoice("whole"), 1)
    next(done)
    assert len(read) == split_captions.BATCH


def test_control_characters_do_not_reach_the_result(fdream) -> None:
    ran = fdream("caption-split", "--json", stdin=b"a dog \x1b[2Jrunning\x07\n")
    (row,) = json_lines(ran.out)
    assert (row["appearance"] + row["motion"]).isprintable()


def test_half_characters_come_through(fdream) -> None:
    given = b'{"caption": "a dog \\ud83d runs"}\n'
    for splitter in ("grammar", "whole"):
        ran = fdream("caption-split", "--splitter", splitter, stdin=given)
        assert ran.code == 0
        assert json_lines(ran.out)


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"PAR1\x15", "parquet"),
        (b'  {"a": 1}', "jsonl"),
        (b'\xef\xbb\xbf{"a": 1}', "jsonl"),
        (b"videoid,name\n1,x", "csv"),
        (b"caption\na dog", "csv"),
        (b"id\ttext\n", "csv"),
        (b"a dog runs, name unknown\n", "lines"),
        (b"text\n", "lines"),
        (b'text, on "a" wall\n', "lines"),
        (b"", "lines"),
    ],
)
def test_formats_are_recognised(beginning: bytes, kind: str) -> None:
    assert recognise(beginning, None) == kind


def test_the_input_is_never_replaced(fdream, in_tmp: Path) -> None:
    Path("l.txt").write_text("a dog runs\n")
    Path("other.txt").symlink_to("l.txt")
    for output in ("l.txt", "./l.txt", "other.txt"):
        ran = fdream("caption-split", "l.txt", "-o", output)
        assert ran.code == 2
        assert "is the input itself" in ran.err
    assert Path("l.txt").read_text() == "a dog runs\n"


ORPHANS = """
import os, sys
from fdream.data.caption_tables.rows import Row
from fdream.pipelines.split_captions import SplitterChoice, split_rows

def rows():
    for number in range(2000):
        yield Row(number, "a dog runs", None)
    yield from iter(lambda: input() and None, 1)  # and then nothing comes

for number, _ in enumerate(split_rows(rows(), SplitterChoice(), 2)):
    if number == 0:
        print("working", flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for children in /proc")
def test_workers_end_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHANS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "working\n"
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    for _ in range(200):
        alive = [child for child in children if Path(f"/proc/{child}").is_dir()]
        if not alive:
            break
        time.sleep(0.1)
    assert not alive
