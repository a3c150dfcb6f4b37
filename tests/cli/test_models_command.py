"""``fdream models``: the bundles of this machine, told without loading one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fdream.models.bundle import Bundle
from fdream.models.bundle_folder import INDEX_NAME


def listed(ran: Any) -> dict[str, dict[str, Any]]:
    assert ran.code == 0, ran.err
    return {facts["bundle"]: facts for facts in json.loads(ran.out)}


@pytest.fixture
def places(tiny_bundle: Path, in_tmp: Path, own_home: Path) -> Path:
    """The tiny bundle as a run here, in the cache, and in a folder; part of it as another run."""
    shutil.copytree(tiny_bundle, in_tmp / "runs" / "mine" / "bundle")
    shutil.copytree(tiny_bundle, own_home / "cache" / "models" / "kept")
    shutil.copytree(tiny_bundle, in_tmp / "more" / "one two")
    opened = Bundle.open(tiny_bundle)
    Bundle.write(in_tmp / "runs" / "vae" / "bundle", {"vae": opened.folder("vae")}, {"name": "vae"})
    return in_tmp


def test_bundles_are_found_where_they_are_kept(fdream, places: Path, own_home: Path) -> None:
    kept = str(own_home / "cache" / "models" / "kept")
    usual = {"pocket": "packaged", kept: "cache", "runs/mine": "runs", "runs/vae": "runs"}
    found = listed(fdream("models", "--json"))
    origins = {name: facts["origin"] for name, facts in found.items()}
    assert {name: it for name, it in origins.items() if it != "hub"} == usual
    found = listed(fdream("models", "--in", "more", "--in", "runs/mine", "--json"))
    assert found["more/one two"]["origin"] == "folder"
    assert found["runs/mine"]["origin"] == "folder"


def test_what_is_told_can_be_typed(fdream, places: Path) -> None:
    """The words under ``choose`` are options of the commands as a shell reads them."""
    import shlex

    found = listed(fdream("models", "--in", "more", "--json"))
    assert found["pocket"]["choose"] == {
        "prior": "--prior pocket",
        "generator": "--generator pocket",
    }
    chosen = found["more/one two"]["choose"]
    assert chosen["generator"] == "--generator 'dreamer:more/one two'"
    options = [word for text in chosen.values() for word in shlex.split(text)]
    ran = fdream("t2v", "a corgi", *options, "--seed", "1", "-o", "x.gif", "--json")
    assert ran.code == 0, ran.err
    stages = json.loads(ran.out)["stages"]
    assert stages["generator"]["sha256"] == Bundle.open("more/one two").hash


def test_facts_are_those_of_the_loaded_weights(fdream, places: Path) -> None:
    facts = listed(fdream("models", "--json"))["runs/mine"]
    opened = Bundle.open("runs/mine")
    modules = ("vae", "unet", "text_encoder", "image_encoder", "motion", "motion_text_encoder")
    tensors = [t for m in modules for t in opened.load(m).state_dict().values()]
    # A tied tensor has two names and is one.
    parameters = sum({t.data_ptr(): t.numel() for t in tensors}.values())
    assert facts["parameters"] == parameters
    assert facts["memory_bytes"] == 4 * parameters
    files = [f for f in opened.path.rglob("*") if f.is_file() and f.name != INDEX_NAME]
    assert facts["disk_bytes"] == sum(f.stat().st_size for f in files)
    assert facts["licence"] is None
    assert facts["defaults"]["generator"] == {
        "size": "32x32",
        "scheduler": "dreamer",
        "steps": 2,
        "guidance": 2.0,
        "frames": 3,
        "fps": 8.0,
    }


def test_part_of_a_model_is_for_training(fdream, places: Path) -> None:
    assert listed(fdream("models", "--json"))["runs/vae"]["choose"] == {}
    assert "--init-from runs/vae" in fdream("models", "runs/vae").out


def test_one_bundle_is_told_whole_with_its_words(fdream, places: Path) -> None:
    told = json.loads(fdream("models", "runs/mine", "--json").out)
    assert told["words"] == ["a", "corgi", "in", "on", "sea", "surfing", "the", "zooming"]
    assert told["sha256"] == Bundle.open("runs/mine").hash
    assert told["parts"]["vae"]["class"] == "PatchAutoencoder"
    shown = fdream("models", "runs/mine").out
    assert "words    8: a corgi in on sea surfing the zooming" in shown.replace(
        "  words ", "words "
    )
    assert "--prior pocket:runs/mine --generator dreamer:runs/mine" in shown


def test_words_of_pocket_are_those_that_it_does_not_warn_of(fdream, in_tmp: Path) -> None:
    from fdream.stages.builtin.bundles import open_bundle
    from fdream.stages.builtin.condition_tokens import unknown_words

    words = json.loads(fdream("models", "pocket", "--json").out)["words"]
    assert "corgi" in words
    assert "zorblax" not in words
    assert unknown_words(open_bundle("pocket").load("tokenizer"), " ".join(words)) == []


def test_a_listed_model_answers_to_its_name_in_the_list(fdream) -> None:
    told = fdream("models", "diffusers:sdxl")
    assert (told.code, told.out) == (0, fdream("models", "sdxl").out)
    assert "stable-diffusion-xl" in told.out


def test_a_damaged_bundle_is_listed_with_its_fault(fdream, places: Path) -> None:
    next(Path("runs/mine/bundle/unet").glob("*.safetensors")).write_bytes(b"short")
    index = Path("runs/vae/bundle") / INDEX_NAME
    index.write_text(json.dumps({"fdream": {"schema": 9}}))
    found = listed(fdream("models", "--json"))
    assert "cut off or damaged" in found["runs/mine"]["fault"]
    assert "pip install -U fdream" in found["runs/vae"]["fault"]
    table = fdream("models")
    assert table.code == 0
    assert "schema 9" in table.out
    for name, says in (("runs/mine", "cut off"), ("runs/vae", "schema 9"), ("nowhere", "there")):
        ran = fdream("models", name)
        assert (ran.code, ran.out) == (3, "")
        assert says in ran.err
        assert ran.err.count("\n") == 1


def test_hostile_names_cannot_command_the_terminal(fdream, places: Path) -> None:
    index = Path("runs/mine/bundle") / INDEX_NAME
    table = json.loads(index.read_text())
    table["fdream"] |= {"name": "\x1b[2J", "licence": "\x1b]0;x\x07"}
    index.write_text(json.dumps(table))
    tokenizer = Path("runs/mine/bundle/tokenizer/tokenizer.json")
    words = json.loads(tokenizer.read_text())
    words["model"]["vocab"]["\x1b[31mred"] = 99
    tokenizer.write_text(json.dumps(words))
    for args in ((), ("runs/mine",), ("--json",), ("runs/mine", "--json")):
        ran = fdream("models", *args)
        assert ran.code == 0, ran.err
        assert "\x1b" not in ran.out + ran.err


def test_a_folder_that_is_not_there_is_a_usage_error(fdream, in_tmp: Path) -> None:
    assert fdream("models", "--in", "nowhere").code == 2
    assert fdream("models", "pocket", "--in", ".").code == 2


def test_listing_loads_no_torch(in_tmp: Path) -> None:
    work = (
        "import sys\nfrom fdream.cli.app import run\n"
        "assert run(['models']) == 0 and run(['models', 'pocket']) == 0\n"
        "print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_symbols_that_pocket_passes_over_are_named() -> None:
    from fdream.stages.builtin.bundles import open_bundle
    from fdream.stages.builtin.condition_tokens import unknown_words

    tokenizer = open_bundle("pocket").load("tokenizer")
    assert unknown_words(tokenizer, "\N{FOX FACE} a fox über the sea, \N{FOX FACE}!") == [
        "\N{FOX FACE}",
        "über",
    ]
    assert unknown_words(tokenizer, "a fox, on the sea!") == []
