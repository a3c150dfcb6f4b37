"""Whatever names videos becomes rows, and a bad row costs itself alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fdream.core.errors import DataError
from fdream.core.prep_recipe import ReadTable
from fdream.data.prep.sources.find import open_source
from fdream.data.prep.sources.rows import SourceRow, Span, fingerprint, public_address
from fdream.data.shards.writer import write_tar


def rows(name: Path | str, **read: object) -> list[SourceRow]:
    source = open_source(str(name), ReadTable.model_validate(read))
    return list(source.rows())


def touch(path: Path, text: str = "video") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


WEBVID = (
    "videoid,contentUrl,duration,page_dir,name\n"
    "1066,https://u:p@cdn.example/videos/1066.mp4?sig=1,PT00H00M10S,000001_000050,"
    '"Waves, 4k\nfootage"\n'
    "77,https://cdn.example/videos/77.mp4,PT00H00M10S,000001_000050,A dog\n"
)


def test_webvids_table_finds_local_copies_as_its_users_keep_them(tmp_path: Path) -> None:
    table = touch(tmp_path / "results.csv", WEBVID)
    kept = touch(tmp_path / "000001_000050" / "1066.mp4")
    first, second = rows(table)
    assert (first.id, first.path, first.caption) == ("1066", str(kept), "Waves, 4k\nfootage")
    assert first.url == "https://cdn.example/videos/1066.mp4"
    assert first.fields == {"duration": "PT00H00M10S", "page_dir": "000001_000050"}
    assert first.size == 5
    assert "no local copy" in second.problem
    elsewhere = touch(tmp_path / "copies" / "77.webm")
    assert rows(table, media=str(tmp_path / "copies"))[1].path == str(elsewhere)


def test_addresses_are_fetched_only_when_asked(tmp_path: Path) -> None:
    table = touch(tmp_path / "results.csv", WEBVID)
    assert [row.remote for row in rows(table)] == [False, False]
    fetched = rows(table, fetch=True)
    assert [(row.remote, row.problem) for row in fetched] == [(True, ""), (True, "")]
    assert fetched[0].path == "https://u:p@cdn.example/videos/1066.mp4?sig=1"


def test_pandas_lists_become_spans_with_captions(tmp_path: Path) -> None:
    spans = "[['0:00:01.500', '0:00:03.000'], ['0:01:00.000', '0:01:05.250']]"
    table = touch(
        tmp_path / "panda70m.csv",
        "videoID,url,timestamp,caption,matching_score\n"
        f'abc,https://tube.example/abc,"{spans}","[\'one\', ""it\'s two""]","[0.4, 0.5]"\n',
    )
    touch(tmp_path / "abc.mp4")
    (row,) = rows(table)
    assert row.spans == (Span(1.5, 3.0, "one"), Span(60.0, 65.25, "it's two"))
    assert (row.id, row.caption, row.problem) == ("abc", "", "")


@pytest.mark.parametrize(
    ("cell", "caption"),
    [
        ("[[3, 1]]", "x"),
        ("[[1, 2], [3, 4]]", "['one']"),
        ("[[nan, 2]]", "x"),
        ("nonsense", "x"),
        ("__import__('os').system('true')", "x"),
        ("[" * 2000 + "]" * 2000, "x"),
        ("[[1]]", "x"),
    ],
)
def test_broken_spans_are_a_reason(cell: str, caption: str, tmp_path: Path) -> None:
    line = json.dumps({"video": "a.mp4", "clips": cell, "caption": caption})
    touch(tmp_path / "a.mp4")
    (row,) = rows(touch(tmp_path / "t.jsonl", line))
    assert row.problem.startswith("column 'clips'")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_all_kinds_of_table_say_the_same(kind: str, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    touch(tmp_path / "v" / "a.mp4")
    cells = {"path": "v/a.mp4", "text": "a cat", "score": "0.5"}
    table = tmp_path / f"t.{kind}"
    separator = {"csv": ",", "tsv": "\t"}.get(kind)
    if separator:
        table.write_text(separator.join(cells) + "\n" + separator.join(cells.values()) + "\n")
    elif kind == "jsonl":
        table.write_text(json.dumps(cells) + "\n")
    else:
        parquet.write_table(pa.Table.from_pylist([cells]), table)
    (row,) = rows(table)
    assert (row.id, row.url, row.caption) == ("v/a.mp4", "v/a.mp4", "a cat")
    assert row.fields == {"score": "0.5"}
    assert not row.problem


def test_columns_can_be_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    table = touch(tmp_path / "t.csv", "film,words\na.mp4,hello\n")
    with pytest.raises(DataError, match=r"film, words.*read\.video=COLUMN"):
        rows(table)
    assert rows(table, video="film", caption="words")[0].caption == "hello"
    with pytest.raises(DataError, match="no column 'x'"):
        rows(table, video="x")


def test_a_bad_line_costs_itself(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    good = '{"video": "a.mp4", "caption": "x"}'
    table = tmp_path / "t.jsonl"
    table.write_bytes(
        f"{good}\n{{broken\n[1]\n".encode()
        + b'{"video": "a.mp4", "caption": "\xff\xfe"}\n'
        + f'{{"caption": "only"}}\n{good}\n'.encode()
    )
    found = rows(table)
    assert [bool(row.problem) for row in found] == [False, True, True, True, True, False]
    assert "not UTF-8" in found[3].problem
    long = touch(tmp_path / "t.csv", f"video,caption\na.mp4,{'x' * (1 << 21)}\na.mp4,fine\n")
    assert [row.problem[:6] for row in rows(long)] == ["line 2", ""]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "C:x"])
def test_a_name_in_a_table_never_leads_elsewhere(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "secret.mp4")
    table = touch(tmp_path / "t" / "t.csv", f"videoid,name\n{name},x\n")
    assert rows(table)[0].problem


def test_a_folder_is_read_in_order_with_its_side_files(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/z.MKV", "a/y.webm", ".hidden.mp4", ".git/x.mp4", "notes.md"):
        touch(tmp_path / name)
    touch(tmp_path / "b.txt", " a caption \n")
    touch(tmp_path / "a" / "z.json", '{"caption": "from json", "fps": 3}')
    touch(tmp_path / "a" / "y.json", "{broken")
    found = rows(tmp_path)
    assert [row.url for row in found] == ["a/y.webm", "a/z.MKV", "b.mp4"]
    assert [row.caption for row in found] == ["", "from json", "a caption"]
    assert found[1].fields == {"fps": 3}
    assert "beside it" in found[0].problem


def test_one_video_is_an_input(tmp_path: Path) -> None:
    (row,) = rows(touch(tmp_path / "it's %d.mp4"))
    assert (row.id, row.url) == ("it's %d", "it's %d.mp4")


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.mp4")
    (row,) = rows(tmp_path)
    assert row.problem == "no plain file"


def test_shards_are_an_input_again(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "00000.tar",
        [
            (
                "a",
                {"mp4": b"video", "txt": b"said", "json": b'{"url": "u", "caption": "x", "n": 1}'},
            ),
            ("b", {"json": b'{"status": "failed_to_download", "error_message": "HTTP 404"}'}),
            ("../c", {"mp4": b"video"}),
            ("d", {"webm": b"film", "json": b'{"caption": "from json"}'}),
        ],
    )
    a, b, c, d = rows(tmp_path)
    assert (a.id, a.url, a.caption, a.size, a.suffix) == ("a", "u", "said", 5, "mp4")
    assert a.fields == {"n": 1}
    assert Path(a.path).read_bytes()[a.offset : a.offset + a.size] == b"video"
    assert b.problem == "HTTP 404"
    assert "leads out of its folder" in c.problem
    assert (d.suffix, d.caption) == ("webm", "from json")


def test_a_shard_that_breaks_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [(str(n), {"mp4": b"v" * 600}) for n in range(3)])
    data = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(data[: 1536 * 2 + 700])
    found = rows(tmp_path)
    assert [row.problem[:16] for row in found] == ["", "", "0.tar: broken ar"]


def test_inputs_that_are_none_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        rows(tmp_path / "none")
    with pytest.raises(DataError, match="no such file"):
        rows(tmp_path / "none.csv")
    with pytest.raises(DataError, match="neither videos nor shards"):
        rows(tmp_path)
    touch(tmp_path / "a.mp4")
    touch(tmp_path / "0.tar")
    with pytest.raises(DataError, match="both shards and videos"):
        rows(tmp_path)
    with pytest.raises(DataError, match="name the videos' folder"):
        rows(tmp_path / "*.mp4")


def test_the_fingerprint_is_of_what_is_said_not_of_where_it_lies() -> None:
    row = SourceRow(id="a", url="a.mp4", caption="x", path="/here/a.mp4", size=3)
    assert fingerprint([row]) == fingerprint([replace(row, path="/there/a.mp4")])
    assert fingerprint([row]) != fingerprint([replace(row, caption="y")])
    assert fingerprint([row]) != fingerprint([replace(row, size=4)])


def test_addresses_are_recorded_without_secrets() -> None:
    assert public_address("https://u:p@h:8/a.mp4?X-Sig=s#f") == "https://h:8/a.mp4"
