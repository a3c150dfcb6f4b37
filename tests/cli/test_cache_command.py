"""``fdream cache``: what is there, and how to be rid of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from fdream.core.cache import cache_folder


@pytest.fixture
def filled(own_home: Path) -> Path:
    """A cache with an old and a new array of ours, and a bundle of the user's."""
    now = time.time()
    for name, size, days in (("old.npy", 2000, 40), ("new.npy", 3000, 1)):
        path = cache_folder("latents") / name
        path.write_bytes(bytes(size))
        os.utime(path, (now - days * 86400, now - days * 86400))
    (own_home / "cache" / "models" / "mine").mkdir(parents=True)
    (own_home / "cache" / "models" / "mine" / "weights").write_bytes(bytes(500))
    return own_home / "cache"


def names(root: Path) -> list[str]:
    return sorted(p.name for p in root.rglob("*") if p.is_file() and p.name != "CACHEDIR.TAG")


def test_path_is_that_of_the_settings(fdream, own_home: Path, monkeypatch) -> None:
    assert fdream("cache", "path").out == f"{own_home / 'cache'}\n"
    monkeypatch.setenv("FDREAM_CACHE", "~/elsewhere")
    assert fdream("cache", "path").out == f"{own_home / 'elsewhere'}\n"
    monkeypatch.setenv("FDREAM_CACHE", "")  # says nothing, and not "the folder I am in"
    (own_home / "config.toml").write_text('cache = "~/set"\n')
    assert fdream("cache", "path").out == f"{own_home / 'set'}\n"


def test_stats_of_nothing(fdream, own_home: Path) -> None:
    ran = fdream("cache", "stats")
    assert (ran.code, ran.out) == (0, "all\t\t\t0B\n")
    assert json.loads(fdream("cache", "stats", "--json").out)["kinds"] == []
    assert not (own_home / "cache").exists()


def test_stats_say_whose_each_kind_is(fdream, filled: Path) -> None:
    assert fdream("cache", "stats").out.splitlines() == [
        "latents\tfdream\t2\t5.0KB",
        "models\tyou\t1\t500B",
        "all\t\t\t5.5KB",
    ]
    told = json.loads(fdream("cache", "stats", "--json").out)
    assert (told["root"], told["bytes"]) == (str(filled), 5500)
    assert [(k["kind"], k["kept_by"], k["bytes"]) for k in told["kinds"]] == [
        ("latents", "fdream", 5000),
        ("models", "you", 500),
    ]


@pytest.mark.parametrize(
    ("args", "left"),
    [
        (["--all"], ["weights"]),
        (["--kind", "latents"], ["weights"]),
        (["--older-than", "30d"], ["new.npy", "weights"]),
        (["--older-than", "8w"], ["new.npy", "old.npy", "weights"]),
        (["--max-size", "3KB"], ["new.npy", "weights"]),
        (["--max-size", "2.9KB", "--kind", "latents"], ["weights"]),
        (["--all", "--dry-run"], ["new.npy", "old.npy", "weights"]),
    ],
)
def test_prune_removes_what_was_asked_for_and_says_so(fdream, filled, args, left) -> None:
    before = names(filled)
    ran = fdream("cache", "prune", *args)
    assert ran.code == 0
    assert names(filled) == left
    told = [Path(line).name for line in ran.out.splitlines()]
    if "--dry-run" in args:
        assert "would remove 2" in ran.err
        assert told == ["old.npy", "new.npy"]
    else:
        assert sorted(told) == sorted(set(before) - set(left))


def test_prune_as_json(fdream, filled: Path) -> None:
    told = json.loads(fdream("cache", "prune", "--older-than", "30d", "--json").out)
    assert told == {
        "dry_run": False,
        "bytes": 2000,
        "removed": [{"kind": "latents", "path": str(filled / "latents/old.npy"), "bytes": 2000}],
    }


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "say what"),
        (["--all", "--kind", "latents"], "--all is everything"),
        (["--older-than", "soon"], "such as 30d"),
        (["--older-than", "-3d"], "such as 30d"),
        (["--max-size", "big"], "such as 500MB"),
        (["--max-size", "-5"], "such as 500MB"),
        (["--kind", "flow"], "kinds there: latents"),
        (["--kind", "../latents"], "kinds there: latents"),
        (["--kind", "models"], "did not make that folder"),
    ],
)
def test_unclear_orders_remove_nothing(fdream, filled: Path, args, says: str) -> None:
    before = names(filled)
    ran = fdream("cache", "prune", *args)
    assert ran.code == 2
    assert says in ran.err
    assert names(filled) == before


def test_generating_keeps_nothing_on_this_machine(
    fdream, tiny_bundle: Path, in_tmp: Path, own_home: Path
) -> None:
    """What docs/files.md says of uninstalling rests on this."""
    stages = ("--prior", f"pocket:{tiny_bundle}", "--generator", f"dreamer:{tiny_bundle}")
    assert fdream("t2v", "a corgi", *stages, "-o", "x.mp4").code == 0
    assert fdream("replay", "x.mp4", "--prior", stages[1], "--generator", stages[3]).code == 0
    assert [path.name for path in in_tmp.iterdir()] == ["x.mp4"]
    assert list(own_home.rglob("*")) == []


def test_verify_names_what_is_damaged_and_removes_it_when_asked(fdream) -> None:
    import numpy as np

    from fdream.data import store

    def made():
        return {"a": np.zeros(4, np.float32)}, {}

    good, bad = (store.keep("latents", {"k": k}, made).path for k in (1, 2))
    assert fdream("cache", "verify").code == 0
    bad.write_bytes(bad.read_bytes()[:-1] + b"\1")
    ran = fdream("cache", "verify")
    assert (ran.code, ran.out) == (1, f"{bad}: its bytes are not what was written\n")
    assert fdream("cache", "verify", "--kind", "latents", "--json").code == 1
    ran = fdream("cache", "verify", "--remove", "--json")
    assert ran.code == 0
    assert json.loads(ran.out) == {
        "entries": 2,
        "removed": True,
        "damaged": [
            {"kind": "latents", "path": str(bad), "fault": "its bytes are not what was written"}
        ],
    }
    assert good.exists()
    assert not bad.exists()
    assert fdream("cache", "verify").code == 0
