"""Many prompts in one run: each as if it were alone, in order, and none costs another."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdream.core.errors import DeviceError
from fdream.data.images import split_images
from fdream.data.metadata import image_record, read_record
from fdream.models.bundle import Bundle
from fdream.pipelines import generation
from tests.cli.conftest import Fdream, Result


@pytest.fixture
def fdream(tiny_fdream: Fdream) -> Fdream:
    return tiny_fdream


class Arriving(io.RawIOBase):
    """A pipe that hands out one line at a time, and asks before each whether it may."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        super().__init__()
        self._lines = lines

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        line = next(self._lines, b"")
        buffer[: len(line)] = line
        return len(line)


def arriving(lines: Iterator[bytes]) -> io.BufferedReader:
    return io.BufferedReader(Arriving(lines))


def told(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.lines]


def hashes(result: Result) -> list[str]:
    return [line["frames_sha256"] for line in told(result)]


def test_a_prompt_gives_the_same_alone_and_among_others(fdream: Fdream) -> None:
    alone = fdream("t2i", "a corgi", "--seed", "7", "--json", "-o", "alone/")
    listed = b"a corgi on the sea\n# no prompt\n\na corgi\n"
    among = fdream("t2i", "--seed", "7", "--num", "2", "--json", "-o", "among/", stdin=listed)
    assert among.code == 0
    assert hashes(alone)[0] == hashes(among)[2]
    assert len(set(hashes(among))) == 4
    assert [line["index"] for line in told(among)] == [0, 1, 0, 1]
    assert [line["line"] for line in told(among)] == [1, 1, 4, 4]


def test_every_way_to_give_prompts_gives_the_same(fdream: Fdream) -> None:
    Path("list.txt").write_text("a corgi\nthe sea\n")
    Path("list.jsonl").write_text('{"prompt": "a corgi"}\n{"prompt": "the sea", "num": 1}\n')
    options = ("--seed", "7", "--json", "-o", "made/")
    ways = [
        fdream("t2i", "a corgi", "the sea", *options),
        fdream("t2i", "--prompts", "list.txt", *options),
        fdream("t2i", "--prompts", "list.jsonl", *options),
        fdream("t2i", *options, stdin=b"a corgi\nthe sea\n"),
        fdream("t2i", "-", *options, stdin=b"a corgi\nthe sea\n"),
        fdream("t2i", "--prompts", "-", *options, stdin=b"a corgi\nthe sea\n"),
    ]
    assert {way.code for way in ways} == {0}
    assert len({tuple(hashes(way)) for way in ways}) == 1


def test_the_pipe_gives_the_frames_of_t2v_for_a_whole_list(fdream: Fdream) -> None:
    rows = [
        {"prompt": "a corgi", "seed": 3, "num": 2},
        {"id": "sea", "prompt": "the sea", "motion": "zooming in"},
        {"captions": {"appearance": "a corgi", "motion": "surfing"}, "seed": 4},
    ]
    listed = "".join(json.dumps(row) + "\n" for row in rows).encode()
    images = fdream("t2i", "--seed", "9", stdin=listed)
    assert images.code == 0
    piped = fdream("i2v", "--json", "-o", "piped/", stdin=images.out)
    whole = fdream("t2v", "--json", "--seed", "9", "-o", "whole/", stdin=listed)
    assert hashes(piped) == hashes(whole)
    assert len(set(hashes(whole))) == 4
    assert [line["seed"] for line in told(whole)] == [3, 3, 9, 4]
    assert told(whole)[2]["id"] == "sea"
    assert told(whole)[2]["captions"] == {"appearance": "the sea", "motion": "zooming in"}
    assert "splitter" not in told(whole)[3]["stages"]  # nothing was split


def test_a_line_stands_above_the_options(fdream: Fdream) -> None:
    listed = b'{"prompt": "a corgi", "motion": "", "seed": 5}\n{"prompt": "a corgi"}\n'
    result = fdream(
        "t2v", "--motion", "zooming in", "--seed", "6", "--json", "-o", "made/", stdin=listed
    )
    first, second = told(result)
    assert (first["seed"], first["captions"]["motion"]) == (5, "")
    assert (second["seed"], second["captions"]["motion"]) == (6, "zooming in")


def test_without_a_seed_each_prompt_draws_its_own(fdream: Fdream) -> None:
    result = fdream("t2i", "--json", "-o", "made/", stdin=b"a corgi\na corgi\n")
    first, second = told(result)
    assert first["seed"] != second["seed"]
    assert first["frames_sha256"] != second["frames_sha256"]


def test_stages_load_once(fdream: Fdream, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = Bundle.load
    monkeypatch.setattr(Bundle, "load", lambda self, name: loaded.append(name) or load(self, name))
    assert fdream("t2v", "-o", "made/", stdin=b"a corgi\nthe sea\n").code == 0
    one_bundle_each = 2  # the prior and the generator open theirs
    assert all(loaded.count(name) <= one_bundle_each for name in loaded)


def test_bad_lines_cost_no_other_and_are_named_at_the_end(fdream: Fdream) -> None:
    listed = b"a corgi\na \x1b[2J corgi\n\xff\n" + b"x" * 3000 + b"\nthe sea\n"
    result = fdream("t2i", "--seed", "1", "-o", "made.png", stdin=listed)
    assert result.code == 4
    # The numbers of good lines are what they will be once the bad ones are good, too.
    assert result.lines == ["made-000.png", "made-004.png"]
    *warnings, last = result.err.splitlines()
    assert [line.split(":")[1] for line in warnings] == [
        f" standard input, line {number}" for number in (2, 3, 4)
    ]
    assert "3 of 5 left out: line 2, line 3, line 4" in last
    assert "\x1b" not in result.err


def test_a_long_list_of_bad_lines_is_told_shortly(fdream: Fdream) -> None:
    result = fdream("t2i", "-o", "made/", stdin=b"\x1b\n" * 500 + b"a corgi\n")
    assert result.code == 4
    assert len(result.lines) == 1
    assert "500 of 501 left out: line 1, " in result.err
    assert "and 480 more" in result.err.splitlines()[-1]


def test_a_single_bad_line_is_one_error(fdream: Fdream) -> None:
    result = fdream("t2v", "-o", "made.mp4", stdin=b'# a list\n{"prompt": "a", "sed": 3}\n')
    assert (result.code, result.out) == (4, b"")
    assert result.err.count("\n") == 1
    assert "standard input, line 2: unknown key 'sed'; did you mean 'seed'?" in result.err
    assert not list(Path().iterdir())


def test_a_bad_argument_stops_before_any_work(fdream: Fdream) -> None:
    result = fdream("t2i", "a corgi", " ", "-o", "made/")
    assert result.code == 2
    assert "PROMPT 2" in result.err
    assert not list(Path().iterdir())


def test_a_fault_of_a_stage_ends_the_run_at_once(
    fdream: Fdream, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def lines() -> Iterator[bytes]:
        for prompt in (b"a corgi\n", b"the sea\n", b"a corgi\n"):
            asked.append(prompt)
            yield prompt

    def out_of_memory(*_: object) -> None:
        raise DeviceError("cpu: out of memory")

    monkeypatch.setattr(generation, "text_to_image", out_of_memory)
    result = fdream("t2i", "-o", "made/", stdin=arriving(lines()))
    assert result.code == 5
    assert len(asked) == 1
    assert result.err.count("\n") == 1


def test_an_unfit_scheduler_is_refused_before_the_image_is_drawn(
    fdream: Fdream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "text_to_image", lambda *_: pytest.fail("draws"))
    assert fdream("t2v", "a corgi", "-o", "x.mp4", "--scheduler", "heun").code == 3


def test_results_leave_as_they_finish(fdream: Fdream) -> None:
    def lines() -> Iterator[bytes]:
        yield b"a corgi\n"
        assert Path("made/a-corgi-1.png").is_file()
        yield b"the sea\n"
        assert Path("made/the-sea-1.png").is_file()
        yield b"surfing\n"

    result = fdream("t2i", "--seed", "1", "-o", "made/", stdin=arriving(lines()))
    assert (result.code, len(result.lines)) == (0, 3)


def test_only_a_name_that_depends_on_it_waits_for_the_second_line(fdream: Fdream) -> None:
    def lines() -> Iterator[bytes]:
        yield b"a corgi\n"
        yield b"the sea\n"
        assert Path("made-000.png").is_file()
        yield b"surfing\n"
        assert Path("made-001.png").is_file()

    result = fdream("t2i", "--seed", "1", "-o", "made.png", stdin=arriving(lines()))
    assert result.lines == ["made-000.png", "made-001.png", "made-002.png"]
    assert fdream("t2i", "-o", "one.png", stdin=b"a corgi\n").lines == ["one.png"]


def test_endless_prompts_take_no_memory(fdream: Fdream, monkeypatch: pytest.MonkeyPatch) -> None:
    most, grown = 300, []
    picture = np.zeros((32, 32, 3), np.uint8)

    def drawn(captions: Any, sample: Any, settings: Any, shop: Any) -> generation.Still:
        return generation.Still(picture, captions, sample, {"seed": sample.seed})

    def lines() -> Iterator[bytes]:
        for number in range(most):
            if number in (most // 3, most - 1):
                grown.append(tracemalloc.get_traced_memory()[0])
            yield b"a corgi\n\x1b\n"

    monkeypatch.setattr(generation, "text_to_image", drawn)
    tracemalloc.start()
    result = fdream("t2i", "-o", "-", stdin=arriving(lines()))
    tracemalloc.stop()
    assert result.code == 4
    assert len(list(split_images(io.BytesIO(result.out), "x"))) == most
    assert grown[1] - grown[0] < 500_000  # two thousand bytes a result would show


def test_images_follow_each_other_on_standard_output(fdream: Fdream) -> None:
    result = fdream("t2i", "--seed", "1", stdin=b"a corgi\nthe sea\n")
    records = [image_record(data).record for data in split_images(io.BytesIO(result.out), "x")]
    assert [record["prompt"] for record in records if record] == ["a corgi", "the sea"]


def test_ids_name_files_and_reach_nothing_else(fdream: Fdream) -> None:
    ids = ["clip_01.A", "../../etc/passwd", "-rf", "\u30b3\u30fc\u30ae\u30fc", "NUL", ".hidden", 7]
    listed = "".join(json.dumps({"id": name, "prompt": "a corgi"}) + "\n" for name in ids)
    result = fdream("t2i", "--json", "-o", "made/", stdin=listed.encode())
    assert result.code == 0
    assert [line["path"] for line in told(result)] == [
        "made/clip_01.A.png",
        "made/_.._etc_passwd.png",
        "made/_-rf.png",
        "made/\u30b3\u30fc\u30ae\u30fc.png",
        "made/_NUL.png",
        "made/hidden.png",
        "made/7.png",
    ]
    assert [line["id"] for line in told(result)] == [str(name) for name in ids]
    assert [path.name for path in Path().iterdir()] == ["made"]


def test_one_id_twice_replaces_nothing(fdream: Fdream) -> None:
    listed = b'{"id": "x", "prompt": "a corgi"}\n{"id": "x", "prompt": "the sea", "num": 2}\n'
    made = ["made/x.png", "made/x-000.png", "made/x-001.png"]
    assert fdream("t2i", "-o", "made/", stdin=listed).lines == made
    again = fdream("t2i", "-o", "made/", stdin=listed).lines
    assert again == ["made/x-2.png", "made/x-000-2.png", "made/x-001-2.png"]


def test_several_words_without_quotes_are_noticed(fdream: Fdream) -> None:
    assert "quote" in fdream("t2i", "a", "corgi", "-o", "made/").err
    assert "quote" not in fdream("t2i", "a corgi", "sea", "-o", "made/").err


def test_a_terminal_is_not_waited_for(fdream: Fdream, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    for command in ("t2i", "t2v", "i2v"):
        result = fdream(command, "-o", "x.webp", stdin=Terminal())
        assert result.code == 2
        assert f'fdream {"t2i" if command == "i2v" else command} "a corgi surfing"' in result.err
    monkeypatch.setattr("sys.stdin", None)  # as after `<&-`
    assert fdream("t2i", "-o", "x.png").code == 2


# --- resuming


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that were really drawn."""
    drawn: list[str] = []
    draw = generation.text_to_image

    def counting(captions: Any, *rest: Any) -> generation.Still:
        drawn.append(captions.appearance)
        return draw(captions, *rest)

    monkeypatch.setattr(generation, "text_to_image", counting)
    return drawn


def test_resuming_makes_what_is_missing_and_no_more(fdream: Fdream, counted: list[str]) -> None:
    options = ("--seed", "3", "--num", "2", "-o", "made/", "--json")
    first = fdream("t2v", *options, stdin=b"a corgi\nthe sea\n")
    Path("made/the-sea-3-000.mp4").unlink()
    counted.clear()
    before = Path("made/a-corgi-3-000.mp4").stat().st_mtime_ns
    again = fdream("t2v", *options, "--resume", stdin=b"a corgi\nthe sea\nsurfing\n")
    assert again.code == 0
    assert again.err == (
        "warning: 'the sea' names no motion; name it there or with --motion \"what happens\". The "
        "model moves it as it pleases.\n3 of 6 were there; skipped.\n"
    )
    assert counted == ["the sea", "surfing", "surfing"]
    assert hashes(again)[:4] == hashes(first)
    assert [line.get("skipped", False) for line in told(again)] == [True, True, False, True] + [
        False
    ] * 2
    assert Path("made/a-corgi-3-000.mp4").stat().st_mtime_ns == before
    assert len(list(Path("made").iterdir())) == 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("--seed", "4"), "seed"),
        (("--steps", "2"), "options"),
        (("--guidance", "1"), "options"),
        (("--negative", "the sea"), "options"),
        (("--size", "40"), "options"),
        (("--scheduler", "euler"), "stages"),
        (("--quality", "50"), "encoding"),
    ],
    ids=str,
)
def test_what_differs_is_made_again_and_said(
    fdream: Fdream, change: tuple[str, ...], says: str, counted: list[str]
) -> None:
    options = ["t2i", "a corgi", "-o", "made.webp", "--resume"]
    assert fdream(*options, "--seed", "3").code == 0
    result = fdream(*options, "--seed", "3", *change)
    assert result.code == 0
    assert f"made.webp: differs in {says}" in result.err
    assert counted == ["a corgi"] * 2
    assert fdream(*options, "--seed", "3", *change).err == "1 of 1 were there; skipped.\n"
    assert counted == ["a corgi"] * 2


def test_resuming_says_what_the_format_does_as_well(fdream: Fdream) -> None:
    options = ("t2v", "a corgi", "--seed", "1", "-o", "made.gif")
    note = fdream(*options).err
    Path("made.gif").unlink()
    assert "10 ms" in note
    assert fdream(*options, "--resume").err == note
    assert fdream(*options, "--resume").err == "1 of 1 were there; skipped.\n"


def test_ids_and_numbers_resume_without_a_seed(fdream: Fdream, counted: list[str]) -> None:
    listed = b'{"id": "x", "prompt": "a corgi"}\n{"id": "y", "prompt": "the sea"}\n'
    for output in ("made/", "made.png"):
        options = ("t2i", "-o", output, "--resume")
        first = fdream(*options, stdin=listed)
        counted.clear()
        again = fdream(*options, stdin=listed)
        assert (again.code, again.lines) == (0, first.lines)
        assert counted == []
    changed = listed.replace(b"the sea", b"surfing")
    assert fdream("t2i", "-o", "made/", "--resume", stdin=changed).code == 0
    assert counted == ["surfing"]
    record = read_record(Path("made/y.png")).record
    assert record is not None
    assert record["prompt"] == "surfing"


def test_resuming_never_replaces_what_it_cannot_tell(fdream: Fdream) -> None:
    Path("made").mkdir()
    for name, holds in (("x.png", b"mine"), ("y.png", b"")):
        Path("made", name).write_bytes(holds)
        listed = json.dumps({"id": name[0], "prompt": "a corgi"}).encode()
        result = fdream("t2i", "-o", "made/", "--resume", stdin=listed)
        assert result.code == 6
        assert f"made/{name}" in result.err
        assert Path("made", name).read_bytes() == holds


def test_entries_of_one_name_resume_side_by_side(fdream: Fdream, counted: list[str]) -> None:
    long = "a corgi surfing on the sea and on the sea and on the sea"
    listed = f"{long} in\n{long} zooming\n".encode()
    first = fdream("t2i", "--seed", "1", "-o", "made/", "--resume", stdin=listed)
    assert len(set(first.lines)) == 2
    counted.clear()
    assert fdream("t2i", "--seed", "1", "-o", "made/", "--resume", stdin=listed).lines == (
        first.lines
    )
    assert counted == []


def test_a_photo_is_animated_again_when_it_changed(fdream: Fdream) -> None:
    from PIL import Image

    def animate(colour: str) -> Result:
        Image.new("RGB", (50, 20), colour).save("photo.png")
        return fdream(
            "i2v", "photo.png", "--motion", "in", "--seed", "1", "-o", "made/", "--resume", "--json"
        )

    assert animate("red").code == 0
    assert told(animate("red"))[0]["skipped"]
    changed = animate("blue")
    assert "skipped" not in told(changed)[0]
    assert "first_frame_sha256" in changed.err


# --- images


def test_images_from_files_and_a_broken_one_among_them(fdream: Fdream) -> None:
    for seed in ("1", "2"):
        assert fdream("t2i", "a corgi", "--seed", seed, "-o", f"{seed}.png").code == 0
    Path("broken.png").write_bytes(Path("1.png").read_bytes()[:60])
    result = fdream("i2v", "1.png", "broken.png", "nowhere.png", "2.png", "-o", "made/")
    assert result.code == 4
    assert result.lines == ["made/a-corgi-1-000.mp4", "made/a-corgi-2-003.mp4"]
    assert "2 of 4 left out: broken.png, nowhere.png" in result.err


def test_a_broken_image_in_a_stream_costs_no_other(fdream: Fdream) -> None:
    first, second = (fdream("t2i", "a corgi", "--seed", seed).out for seed in ("1", "2"))
    place = first.index(b"IDAT") + 8
    broken = first[:place] + bytes(len(first) - place - 16) + first[-16:]
    result = fdream("i2v", "-o", "made.gif", stdin=first + broken + second)
    assert result.code == 4
    assert result.lines == ["made-000.gif", "made-002.gif"]
    assert "1 of 3 left out: image 2" in result.err


def test_more_videos_of_an_image_begin_with_its_own(fdream: Fdream) -> None:
    images = fdream("t2i", "a corgi", "--seed", "1", "--num", "2").out
    one = fdream("i2v", "--json", "-o", "one/", stdin=images)
    two = fdream("i2v", "--json", "--num", "2", "-o", "two/", stdin=images)
    assert hashes(two)[::2] == hashes(one)
    assert len(set(hashes(two))) == 4


def test_a_photo_gives_the_same_alone_and_among_others(fdream: Fdream) -> None:
    from PIL import Image

    for colour in ("red", "blue"):
        Image.new("RGB", (32, 32), colour).save(f"{colour}.png")
    options = ("--motion", "zooming in", "--seed", "1", "--json")
    alone = fdream("i2v", "blue.png", *options, "-o", "alone/")
    among = fdream("i2v", "red.png", "blue.png", *options, "-o", "among/")
    assert hashes(among)[1:] == hashes(alone)
    assert told(among)[1]["path"] == "among/blue-1-001.mp4"


# --- the end, whenever it comes


def test_an_interrupt_keeps_what_is_finished(
    fdream: Fdream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines() -> Iterator[bytes]:
        yield b"a corgi\n"
        raise KeyboardInterrupt

    result = fdream("t2i", "--seed", "1", "-o", "made/", stdin=arriving(lines()))
    assert result.code == 130
    assert result.lines == ["made/a-corgi-1.png"]
    assert [path.name for path in Path("made").iterdir()] == ["a-corgi-1.png"]
