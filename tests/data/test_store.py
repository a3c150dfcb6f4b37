"""The store: an entry is what its key says, once, or it is named as damaged."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fdream.core.errors import DataError
from fdream.data import store

KEY = {"clip": "abc", "size": [1, 2]}


def made(value: float = 1.0):
    return {"a": np.full((3,), value, np.float32)}, {"note": "n"}


def test_an_entry_is_computed_once_and_read_again() -> None:
    calls = []

    def compute():
        calls.append(1)
        return made()

    first, second = (store.keep("latents", KEY, compute) for _ in range(2))
    assert len(calls) == 1
    assert first.path == second.path
    assert second.facts == {"note": "n"}
    assert np.array_equal(second.read(["a"])["a"], np.ones(3, np.float32))


@pytest.mark.parametrize(
    "other", [{"clip": "abd", "size": [1, 2]}, {"clip": "abc", "size": [2, 1]}]
)
def test_another_key_is_another_entry(other) -> None:
    store.keep("latents", KEY, made)
    found = store.keep("latents", other, lambda: made(2.0))
    assert found.read(["a"])["a"][0] == 2.0
    assert store.find("flow", KEY) is None


def test_the_order_of_a_key_means_nothing() -> None:
    assert store.entry_path("flow", {"a": 1, "b": 2}) == store.entry_path("flow", {"b": 2, "a": 1})


def test_of_several_that_need_an_entry_one_computes() -> None:
    calls, gate = [], threading.Event()

    def compute():
        calls.append(1)
        gate.wait(0.1)
        return made()

    threads = [threading.Thread(target=store.keep, args=("flow", KEY, compute)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_what_was_not_finished_is_not_there() -> None:
    def broken():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.keep("flow", KEY, broken)
    assert store.find("flow", KEY) is None
    assert [p.name for p in store.entry_path("flow", KEY).parent.iterdir()] == ["CACHEDIR.TAG"]


@pytest.mark.parametrize("place", [-1, 40])
def test_one_changed_byte_is_damage(place: int) -> None:
    pack = store.keep("latents", KEY, made)
    assert store.damage(pack.path) is None
    data = bytearray(pack.path.read_bytes())
    data[place] ^= 1
    pack.path.write_bytes(data)
    assert store.damage(pack.path)


def test_a_changed_fact_is_damage() -> None:
    pack = store.keep("latents", KEY, made)
    written = pack.path.read_bytes()
    assert written.count(b'\\"n\\"') == 1
    pack.path.write_bytes(written.replace(b'\\"n\\"', b'\\"m\\"'))
    assert "bytes" in str(store.damage(pack.path))


def test_an_entry_under_the_name_of_another_is_damage() -> None:
    pack = store.keep("latents", KEY, made)
    moved = pack.path.rename(pack.path.with_name("0" * 64 + ".safetensors"))
    assert "name" in str(store.damage(moved))


def test_a_cut_off_entry_is_named_with_what_to_do() -> None:
    pack = store.keep("latents", KEY, made)
    pack.path.write_bytes(pack.path.read_bytes()[:-4])
    with pytest.raises(DataError, match="fdream cache verify --remove"):
        store.keep("latents", KEY, made)
    with pytest.raises(DataError, match="fdream cache verify --remove"):
        pack.read(["a"])
