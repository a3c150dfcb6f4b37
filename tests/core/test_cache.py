"""Only what fdream put into the cache is ever removed from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fdream.core.cache import TAG_NAME, cache_folder, remove, survey, to_prune
from fdream.core.errors import OutputError, UsageError
from fdream.core.paths import cache_root

DAY = 86400


@pytest.fixture
def root() -> Path:
    return cache_root()


def put(kind: str, name: str, size: int, day: int = 0) -> Path:
    """Keep ``size`` bytes under a name, last changed on a day of 1970."""
    path = cache_folder(kind) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (day * DAY, day * DAY))
    return path


def test_absent_cache_is_empty_and_asking_does_not_make_it(root: Path) -> None:
    assert survey(root) == []
    assert not root.exists()


def test_a_folder_is_made_once_and_tagged_for_backup_programs(root: Path) -> None:
    folder = cache_folder("latents")
    assert folder == cache_folder("latents") == root / "latents"
    tag = (folder / TAG_NAME).read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def test_entries_are_sized_and_dated_by_what_is_in_them(root: Path) -> None:
    put("latents", "a.npy", 100, day=3)
    folder = cache_folder("hub") / "models--x"
    folder.mkdir()
    (folder / "blob").write_bytes(bytes(50))
    os.utime(folder / "blob", (9 * DAY, 9 * DAY))
    os.utime(folder, (2 * DAY, 2 * DAY))
    hub, latents = survey(root)
    assert (hub.name, hub.ours, hub.size) == ("hub", True, 50)
    assert (latents.size, latents.entries[0].changed) == (100, 3 * DAY)
    assert hub.entries[0].changed == 9 * DAY


def test_what_is_not_tagged_is_listed_but_never_chosen(root: Path) -> None:
    put("latents", "a.npy", 1)
    (root / "models" / "mine").mkdir(parents=True)
    (root / "models" / "mine" / "weights").write_bytes(bytes(7))
    forged = root / "photos"
    forged.mkdir()
    (forged / TAG_NAME).write_text("Signature: 8a477f597d28d172789f06886806bc55\n# by another\n")
    kinds = {kind.name: kind for kind in survey(root)}
    assert {name: kind.ours for name, kind in kinds.items()} == {
        "latents": True,
        "models": False,
        "photos": False,
    }
    assert kinds["models"].size == 7
    chosen = to_prune(kinds.values(), now=10 * DAY)
    assert [entry.path.name for entry in chosen] == ["a.npy"]


def test_folder_of_somebody_else_is_not_taken_over(root: Path) -> None:
    (root / "latents").mkdir(parents=True)
    (root / "latents" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="FDREAM_CACHE"):
        cache_folder("latents")
    assert not (root / "latents" / TAG_NAME).exists()


def test_links_are_counted_and_removed_as_links(root: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(bytes(1000))
    link = cache_folder("latents") / "link"
    link.symlink_to(tmp_path / "precious")
    inner = cache_folder("latents") / "folder"
    inner.mkdir()
    (inner / "link").symlink_to(tmp_path / "precious")
    (root / "linked-kind").symlink_to(tmp_path / "precious")
    (kind,) = survey(root)
    assert kind.size < 1000
    remove(kind.entries)
    assert not link.is_symlink()
    assert not inner.exists()
    assert (tmp_path / "precious" / "file").stat().st_size == 1000


def test_a_kind_that_is_a_link_elsewhere_is_not_ours(root: Path, tmp_path: Path) -> None:
    real = cache_folder("latents")
    put("latents", "a.npy", 1)
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")
    assert survey(root) == []
    with pytest.raises(OutputError, match="did not put there"):
        cache_folder("latents")


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        ({}, ["old", "middle", "new"]),
        ({"older_than": 5 * DAY}, ["old"]),
        ({"older_than": 100 * DAY}, []),
        ({"max_size": 30}, []),
        ({"max_size": 29}, ["old"]),
        ({"max_size": 0}, ["old", "middle", "new"]),
        ({"older_than": 5 * DAY, "max_size": 10}, ["old", "middle"]),
    ],
)
def test_the_oldest_go_first(root: Path, limits: dict[str, float], gone: list[str]) -> None:
    for name, day in (("new", 8), ("old", 1), ("middle", 6)):
        put("latents", name, 10, day)
    chosen = to_prune(survey(root), now=10 * DAY, **limits)  # type: ignore[arg-type]
    assert [entry.path.name for entry in chosen] == gone


def test_what_a_kill_left_half_removed_goes_with_the_next(root: Path) -> None:
    half = cache_folder("hub") / ".pruned-models--x"
    half.mkdir()
    (half / "blob").write_bytes(bytes(5))
    remove(to_prune(survey(root), now=0))
    assert [path.name for path in (root / "hub").iterdir()] == [TAG_NAME]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may remove everything")
def test_what_cannot_be_removed_is_named_and_the_rest_goes(root: Path) -> None:
    put("flow", "kept.npy", 1)
    put("latents", "gone.npy", 1)
    (root / "flow").chmod(0o500)
    try:
        with pytest.raises(OutputError, match=r"1 of 2 .*kept\.npy"):
            remove(to_prune(survey(root), now=DAY))
    finally:
        (root / "flow").chmod(0o700)
    assert not (root / "latents" / "gone.npy").exists()


def test_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be read"):
        survey(tmp_path / "file")


def test_of_many_that_make_a_folder_at_once_all_get_it(own_home: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for number in range(20):
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(cache_folder, [f"kind-{number}"] * 8))
        assert found == {own_home / "cache" / f"kind-{number}"}
    left = {path.name for path in (own_home / "cache").iterdir()}
    assert left == {f"kind-{number}" for number in range(20)}
