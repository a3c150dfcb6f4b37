"""``config``, ``recipes`` and ``doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_config_shows_values_with_origins(fdream, in_tmp: Path, monkeypatch) -> None:
    monkeypatch.setenv("FDREAM_DEVICE", "cpu")
    (in_tmp / "fdream.toml").write_text("threads = 3\n")
    shown = json.loads(fdream("config", "show", "--json").out)
    assert shown["device"] == {"value": "cpu", "origin": "FDREAM_DEVICE"}
    assert shown["threads"] == {"value": 3, "origin": "./fdream.toml"}
    assert shown["dtype"] == {"value": "auto", "origin": "default"}
    assert "device\tcpu\tFDREAM_DEVICE\n" in fdream("config", "show").out


def test_config_with_a_fault_is_2(fdream, in_tmp: Path) -> None:
    (in_tmp / "fdream.toml").write_text('token = "mine"\n')
    ran = fdream("config", "show")
    assert ran.code == 2
    assert "may not be set by a folder" in ran.err


def test_recipes_are_listed_and_copied(fdream, in_tmp: Path) -> None:
    (in_tmp / "recipes").mkdir()
    (in_tmp / "recipes" / "mine.toml").write_text("# fdream train mine\n[train]\nsteps = 3\n")
    listed = json.loads(fdream("recipes", "list", "--json").out)
    assert {"name": "mine", "origin": "./recipes", "summary": "fdream train mine"}.items() <= next(
        r for r in listed if r["name"] == "mine"
    ).items()
    ran = fdream("recipes", "copy", "mine")
    assert (ran.code, ran.out) == (0, "mine.toml\n")
    assert (in_tmp / "mine.toml").read_text() == (in_tmp / "recipes" / "mine.toml").read_text()


def test_copy_overwrites_only_by_force(fdream, in_tmp: Path) -> None:
    (in_tmp / "recipes").mkdir()
    (in_tmp / "recipes" / "mine.toml").write_text("")
    (in_tmp / "out.toml").write_text("precious")
    ran = fdream("recipes", "copy", "mine", "out.toml")
    assert ran.code == 6
    assert (in_tmp / "out.toml").read_text() == "precious"
    assert fdream("recipes", "copy", "mine", "out.toml", "--force").code == 0
    assert (in_tmp / "out.toml").read_text() == ""


def test_copy_of_an_unknown_recipe_is_2(fdream, in_tmp: Path) -> None:
    assert fdream("recipes", "copy", "nothing-like-it").code == 2


def test_doctor_finds_nothing_to_repair_here(fdream, in_tmp: Path) -> None:
    ran = fdream("doctor", "--json")
    findings = json.loads(ran.out)
    assert [f for f in findings if f["status"] == "problem"] == []
    assert ran.code == 0
    topics = {f["topic"] for f in findings}
    assert {"version", "device", "memory", "disk", "settings", "font", "stage"} <= topics


@pytest.mark.parametrize(
    ("variable", "told"),
    [("FDREAM_DEVCIE", "did you mean FDREAM_DEVICE?"), ("FDREAM_QWERTY", "means nothing")],
)
def test_doctor_reports_misspelt_variables(fdream, in_tmp, monkeypatch, variable, told) -> None:
    monkeypatch.setenv(variable, "1")
    ran = fdream("doctor")
    assert ran.code == 1
    assert told in ran.out


def test_doctor_survives_broken_settings(fdream, in_tmp: Path) -> None:
    (in_tmp / "fdream.toml").write_text("device =")
    ran = fdream("doctor")
    assert ran.code == 1
    assert "not valid TOML" in ran.out
    assert "prior/pocket" in ran.out
