from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from fdream.core.errors import OutputError
from fdream.core.paths import atomic_write, cache_root, slug, unused


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_result_appears_whole_under_its_name_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out.mp4"
    with atomic_write(target) as temporary:
        temporary.write_bytes(b"all of it")
        assert temporary.name == "out.mp4"
        assert not target.exists()
    assert target.read_bytes() == b"all of it"
    assert names(target.parent) == ["out.mp4"]


def test_failure_leaves_the_old_result_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")

    def fail_half_way() -> None:
        with atomic_write(target) as temporary:
            temporary.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["out.mp4"]


def test_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with atomic_write(tmp_path / "ours") as temporary:
        temporary.write_bytes(b"")
    modes = {stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("plain", "ours")}
    assert len(modes) == 1


def test_folder_is_written_whole_too(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "bundle") as temporary:
        temporary.mkdir()
        (temporary / "config.json").write_text("{}")
    assert names(tmp_path / "bundle") == ["config.json"]


def test_folder_with_content_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "precious").write_text("")
    with pytest.raises(OutputError, match="not empty"), atomic_write(tmp_path / "bundle"):
        pass
    assert names(tmp_path / "bundle") == ["precious"]


def test_folder_with_content_is_replaced_where_the_caller_knows_it(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_text("a")
    with atomic_write(tmp_path / "old", replace_folder=True) as temporary:
        temporary.mkdir()
        (temporary / "b").write_text("b")
        assert names(tmp_path / "old") == ["a"]
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == ["b"]


def test_folder_that_cannot_be_replaced_comes_back(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_text("a")
    # Nothing was written: the rename into place has nothing to rename.
    with pytest.raises(OutputError), atomic_write(tmp_path / "old", replace_folder=True):
        pass
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == ["a"]


def test_parent_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"cannot write .*out\.mp4"),
        atomic_write(tmp_path / "file" / "out.mp4"),
    ):
        pass


def test_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"), atomic_write(tmp_path / "out.mp4"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_missing_input_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out.mp4"):
        (tmp_path / "input.png").read_bytes()


def test_symlink_is_followed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.mp4").write_bytes(b"old")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real.mp4")
    with atomic_write(tmp_path / "link.mp4") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "link.mp4").is_symlink()
    assert (tmp_path / "real.mp4").read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_device_gets_the_bytes_and_stays_a_device() -> None:
    with atomic_write(Path(os.devnull)) as temporary:
        temporary.write_bytes(b"gone")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a corgi surfing", "a-corgi-surfing"),
        ("  Zoe's cafe\u0301 -- 2!  ", "zoe-s-cafe-2"),
        ("../../etc/passwd", "etc-passwd"),
        ("\u72ac", "untitled"),
        ("", "untitled"),
        ("x" * 100, "x" * 48),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_slug_is_cut_at_a_word() -> None:
    stem = slug("many small words " * 20)
    assert len(stem) <= 48
    assert set(stem.split("-")) <= {"many", "small", "words"}


def test_unused_never_names_something_that_exists(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    assert unused(path) == path
    path.touch()
    (tmp_path / "out-2.mp4").touch()
    assert unused(path).name == "out-3.mp4"


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FDREAM_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
