"""A list of prompts: every line is a prompt or a reason, none costs another, memory stays flat."""

from __future__ import annotations

import io
import tracemalloc

import pytest

from fdream.core.errors import DataError
from fdream.data.prompt_list import BadLine, PromptLine, PromptsFormat, read_prompts


def read(text: str | bytes, form: PromptsFormat = "auto") -> list[PromptLine | BadLine]:
    raw = text.encode() if isinstance(text, str) else text
    return list(read_prompts(io.BytesIO(raw), "list", form))


def reason(line: str) -> str:
    good, bad = read(f'{{"prompt": "a"}}\n{line}\n')
    assert isinstance(good, PromptLine)
    assert isinstance(bad, BadLine)
    assert bad.line == 2
    return bad.reason


def test_plain_lines_keep_their_numbers_and_skip_blanks_and_comments() -> None:
    assert read("# mine\n\na corgi\n  \n\ta red car \r\n#b\nlast") == [
        PromptLine(3, "a corgi"),
        PromptLine(5, "a red car"),
        PromptLine(7, "last"),
    ]


def test_json_lines_carry_what_a_line_may_say() -> None:
    told = '{"id": "x/1", "prompt": "a corgi", "motion": "zooming in", "seed": 3, "num": 2}'
    halves = '{"id": 7, "captions": {"appearance": "a corgi", "motion": ""}, "seed": null}'
    assert read(f"# mine\n{told}\n\n{halves}") == [
        PromptLine(2, "a corgi", None, "zooming in", 3, 2, "x/1"),
        PromptLine(4, "", "a corgi", "", None, None, "7"),
    ]


def test_what_caption_split_writes_is_a_list_of_prompts() -> None:
    split = '{"caption": "a corgi surfing", "appearance": "a corgi", "motion": "surfing"}'
    assert read(split) == [PromptLine(1, "a corgi surfing", "a corgi", "surfing")]


def test_the_first_line_decides_unless_the_user_does() -> None:
    assert read("{red|blue} car", "lines") == [PromptLine(1, "{red|blue} car")]
    assert isinstance(read("a corgi", "jsonl")[0], BadLine)
    assert isinstance(read("{red|blue} car")[0], BadLine)
    _, stray = read('a corgi\n{"prompt": "a cat"}\n')
    assert isinstance(stray, BadLine)
    assert "--prompts-format" in stray.reason


def test_marks_of_other_systems_are_understood() -> None:
    assert read(b"\xef\xbb\xbfa corgi\r\n") == [PromptLine(1, "a corgi")]
    assert read(b'\xef\xbb\xbf{"prompt": "a corgi"}') == [PromptLine(1, "a corgi")]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": "a"', "not valid JSON"),
        ("[1]", "no JSON object"),
        ('"a corgi"', "no JSON object"),
        ("a corgi", "not valid JSON"),
        ("{}", "nothing to draw"),
        ('{"motion": "zooming in"}', "nothing to draw"),
        ('{"prompt": ""}', "prompt: empty"),
        ('{"prompt": " \\n "}', "prompt: empty"),
        ('{"prompt": 7}', "prompt = 7"),
        ('{"prompt": "a", "sed": 1}', "did you mean 'seed'"),
        ('{"prompt": "a", "output": "/etc/passwd"}', "unknown key 'output'"),
        ('{"prompt": "a", "captions": {"apearance": "b"}}', "did you mean 'appearance'"),
        ('{"prompt": "a", "captions": "b"}', "captions"),
        ('{"prompt": "a", "captions": {"appearance": ""}}', "appearance: empty"),
        ('{"prompt": "a", "motion": "b", "captions": {"motion": "c"}}', "twice"),
        ('{"prompt": "a", "caption": "b"}', "prompt is given twice"),
        ('{"appearance": "a", "captions": {"appearance": "b"}}', "appearance is given twice"),
        ('{"prompt": "a", "prompt": "b"}', "twice"),
        ('{"prompt": "a", "seed": "1"}', 'seed = "1"'),
        ('{"prompt": "a", "seed": 1.5}', "seed = 1.5"),
        ('{"prompt": "a", "seed": true}', "seed = true"),
        ('{"prompt": "a", "seed": -1}', "seed = -1"),
        ('{"prompt": "a", "seed": 9223372036854775808}', "seed = 9223372036854775808"),
        ('{"prompt": "a", "seed": NaN}', "NaN"),
        ('{"prompt": "a", "num": 0}', "num = 0"),
        ('{"prompt": "a", "id": false}', "id = false"),
        ('{"prompt": "a", "id": ""}', "id"),
        ('{"prompt": "a", "id": "' + "x" * 300 + '"}', "id: 300 characters"),
        ('{"prompt": "a\\u001b[2J"}', "U+001B"),
        ('{"prompt": "\\ud800"}', "U+D800"),
        ('{"prompt": "' + "x" * 3000 + '"}', "3000 characters"),
        ('{"prompt": "' + "x" * 200_000 + '"}', "128 KiB"),
        ("[" * 20_000, "not valid JSON"),
        ('{"prompt": "a", "seed": ' + "9" * 5000 + "}", "not valid JSON"),
    ],
)
def test_a_bad_line_is_a_reason_and_no_more(line: str, says: str) -> None:
    said = reason(line)
    assert says in said
    assert "\n" not in said
    assert len(said) < 300


def test_bytes_that_are_no_text_are_a_reason() -> None:
    (bad, good) = read(b"\xff\xfa corgi\na cat")
    assert isinstance(bad, BadLine)
    assert "UTF-8" in bad.reason
    assert good == PromptLine(2, "a cat")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "no prompt"),
        (b"\n# only a comment\n", "no prompt"),
        (b"\x89PNG\r\n\x1a\n", "fdream i2v"),
        ("a corgi".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_no_list_is_refused_whole(raw: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(raw)


class Endless(io.RawIOBase):
    """Never stops, as ``yes`` or a device of zeros."""

    def __init__(self, piece: bytes) -> None:
        super().__init__()
        self._piece = piece
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self.given += count
        return count


def test_endless_lists_take_no_memory() -> None:
    source = Endless(b'{"prompt": "a corgi"}\n' * 100)
    prompts = read_prompts(io.BufferedReader(source), "list")
    next(prompts)
    assert source.given < 100_000  # it does not read ahead of what is asked for
    tracemalloc.start()
    for _ in range(10_000):
        next(prompts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_line_without_end_is_given_up() -> None:
    with pytest.raises(DataError, match="no list of prompts"):
        list(read_prompts(io.BufferedReader(Endless(b"\0" * 65536)), "list"))
