"""A bundle is whole or absent, says what it holds, and loads nothing that it merely names."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fdream.core.errors import WeightsError
from fdream.core.sizes import Size
from fdream.models import bundle as bundle_module
from fdream.models.bundle import Bundle
from fdream.models.bundle_folder import INDEX_NAME, SCHEMA, BundleFolder, UseDefaults
from fdream.models.noise_schedule import NoiseSchedule
from fdream.models.patch_autoencoder import PatchAutoencoder
from fdream.models.word_tokenizer import word_tokenizer


def tiny_vae() -> PatchAutoencoder:
    torch.manual_seed(0)
    vae = PatchAutoencoder(latent_channels=4, width=8, depth=1)
    with torch.no_grad():
        for weights in vae.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    return vae.eval()


def write(folder: Path, dtype: torch.dtype | None = None, **more: Any) -> PatchAutoencoder:
    """Write a bundle of an autoencoder, a tokenizer, a schedule and ``more``; return the first."""
    vae = tiny_vae()
    parts = {"vae": vae, "tokenizer": word_tokenizer(["a", "fox"], 6)}
    Bundle.write(
        folder, {**parts, "scheduler": NoiseSchedule.pocket(), **more}, {"name": "tiny"}, dtype
    )
    return vae


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def edit(folder: Path) -> Callable[..., Path]:
    """Change keys of the index of ``folder``."""

    def change(**keys: object) -> Path:
        path = folder / INDEX_NAME
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))
        return folder

    return change


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    vae = write(tmp_path / "tiny")
    opened = Bundle.open(tmp_path / "tiny")
    assert opened.component_names == ["scheduler", "tokenizer", "vae"]
    assert opened.information == {"name": "tiny", "schema": SCHEMA}
    loaded = opened.load("vae")
    assert same_weights(vae, loaded)
    assert not loaded.training
    pictures = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.equal(vae(pictures), loaded(pictures))
    assert opened.load("tokenizer")("a fox")["input_ids"] == [2, 4, 5, 3]
    assert opened.load("scheduler").table_hash == NoiseSchedule.pocket().table_hash


def test_a_run_folder_opens_as_the_bundle_in_it(tmp_path: Path) -> None:
    write(tmp_path / "run" / "bundle")
    assert Bundle.open(tmp_path / "run").path == tmp_path / "run" / "bundle"


def test_weights_are_safetensors_and_nothing_is_pickled(folder: Path) -> None:
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors"}


def test_a_component_is_carried_over_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    first = Bundle.open(folder)
    carried = {name: first.folder(name) for name in first.component_names}
    Bundle.write(tmp_path / "next", carried, {"name": "next"})
    second = Bundle.open(tmp_path / "next")
    assert second.hash == first.hash
    assert {k: second.index[k] for k in carried} == {k: first.index[k] for k in carried}


def test_no_path_travels_with_a_bundle(folder: Path, tmp_path: Path) -> None:
    """diffusers writes down where a component was loaded from."""
    first = Bundle.open(folder)
    Bundle.write(tmp_path / "next", {"vae": first.load("vae")}, {"name": "next"})
    written = "".join(path.read_text() for path in (tmp_path / "next").rglob("*.json"))
    assert str(tmp_path) not in written
    assert same_weights(first.load("vae"), Bundle.open(tmp_path / "next").load("vae"))


def test_half_precision_on_disk_is_float32_in_memory(tmp_path: Path) -> None:
    vae = write(tmp_path / "half", dtype=torch.float16)
    write(tmp_path / "full")
    assert all(p.dtype is torch.float32 for p in vae.parameters())  # the one written is not touched
    loaded = Bundle.open(tmp_path / "half").load("vae")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for ours, theirs in zip(vae.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours.half().float(), theirs)

    def weight_bytes(name: str) -> int:
        return sum(p.stat().st_size for p in (tmp_path / name).rglob("*.safetensors"))

    assert weight_bytes("half") < 0.7 * weight_bytes("full")


def test_a_newer_schema_is_refused(edit: Callable[..., Path]) -> None:
    with pytest.raises(WeightsError, match=rf"schema {SCHEMA + 1}.*pip install -U fdream"):
        Bundle.open(edit(fdream={"schema": SCHEMA + 1}))


@pytest.mark.parametrize("table", [{}, {"schema": "1"}, {"schema": True}, {"schema": 0}, 3, None])
def test_a_folder_of_another_program_is_refused(edit: Callable[..., Path], table: object) -> None:
    with pytest.raises(WeightsError, match="not one of ours"):
        Bundle.open(edit(fdream=table))


def test_an_absent_or_damaged_index_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="run folder"):
        Bundle.open(folder / "nowhere")
    for text in ("{", "[" * 100_000, "\udcff"):
        (folder / INDEX_NAME).write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(WeightsError, match="cannot be read"):
            Bundle.open(folder)
    (folder / INDEX_NAME).write_text("[]")
    with pytest.raises(WeightsError, match="not a JSON object"):
        Bundle.open(folder)


def test_a_class_we_do_not_know_is_never_imported(edit: Callable[..., Path]) -> None:
    opened = Bundle.open(edit(vae=["subprocess", "Popen"]))
    with pytest.raises(WeightsError, match=r"vae is a Popen.*known:.*PatchAutoencoder"):
        opened.load("vae")


@pytest.mark.parametrize("name", ["../outside", "/etc", "a/b", "..", ""])
def test_a_component_cannot_lie_outside_the_bundle(edit: Callable[..., Path], name: str) -> None:
    with pytest.raises(WeightsError, match="plain folder name"):
        Bundle.open(edit(**{name: ["fdream", "PatchAutoencoder"]}))


def test_a_missing_component_tells_what_there_is(folder: Path) -> None:
    opened = Bundle.open(folder)
    assert not opened.has("motion")
    with pytest.raises(WeightsError, match=r"no 'motion' \(it holds scheduler, tokenizer, vae\)"):
        opened.load("motion")


def damage_weights(folder: Path, keep: slice) -> None:
    path = next((folder / "vae").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[keep])


def pickle_weights(folder: Path) -> None:
    path = next((folder / "vae").glob("*.safetensors"))
    path.with_suffix(".bin").write_bytes(pickle.dumps({"weight": [1.0]}))
    path.unlink()


def name_an_absent_part(folder: Path) -> None:
    index = {"weight_map": {"a": "../../outside.safetensors"}}
    name = "diffusion_pytorch_model.safetensors.index.json"
    (folder / "vae" / name).write_text(json.dumps(index))


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no folder": ("vae has no folder vae/", lambda f: shutil.rmtree(f / "vae")),
    "no weights": (
        "vae holds no weights",
        lambda f: next((f / "vae").glob("*.safetensors")).unlink(),
    ),
    "pickled weights": (r"\.bin is a pickle", pickle_weights),
    "end cut off": ("cut off or damaged", lambda f: damage_weights(f, slice(-10))),
    "header cut off": ("cut off or damaged", lambda f: damage_weights(f, slice(40))),
    "empty weights": ("cut off or damaged", lambda f: damage_weights(f, slice(0))),
    "absent part": (r"names '\.\./\.\./outside", name_an_absent_part),
    "configuration gone": ("config.json cannot", lambda f: (f / "vae" / "config.json").unlink()),
    "configuration no JSON": ("config.json cannot", lambda f: write_config(f, "{")),
    "configuration nested": ("config.json cannot", lambda f: write_config(f, "[" * 100_000)),
    "configuration a list": ("not a JSON object", lambda f: write_config(f, "[]")),
    "configuration unfit": ("vae does not load", lambda f: write_config(f, '{"width": "x"}')),
    "schedule gone": (
        "scheduler_config.json: not found",
        lambda f: (f / "scheduler" / "scheduler_config.json").unlink(),
    ),
    "schedule unknown": (
        "scheduler does not load",
        lambda f: (f / "scheduler" / "scheduler_config.json").write_text('{"beta_schedule": "x"}'),
    ),
    "tokenizer gone": (
        "tokenizer does not load",
        lambda f: (f / "tokenizer" / "tokenizer.json").unlink(),
    ),
    "tokenizer no JSON": (
        "tokenizer does not load",
        lambda f: (f / "tokenizer" / "tokenizer.json").write_text("{"),
    ),
}


def load_all(opened: Bundle) -> None:
    for component in opened.component_names:
        opened.load(component)


def write_config(folder: Path, text: str) -> None:
    (folder / "vae" / "config.json").write_text(text)


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_bundle_is_one_line_that_names_the_file(folder: Path, name: str) -> None:
    says, damage = DAMAGE[name]
    damage(folder)
    with pytest.raises(WeightsError, match=says) as caught:
        load_all(Bundle.open(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [[], ["fdream"], ["a", "b", "c"], [1, 2]])
def test_a_component_is_a_library_and_a_class(edit: Callable[..., Path], value: list[Any]) -> None:
    with pytest.raises(WeightsError, match=r"not as \[library, class\]"):
        Bundle.open(edit(vae=value))


@pytest.mark.parametrize(
    "stated",
    [
        {"steps": "many"},
        {"steps": 0},
        {"steps": 10**6},
        {"size": [1, 2, 3]},
        {"guidance": "nan"},
        {"fps": float("inf")},
        {"frames": -1},
        [1],
        "x",
    ],
)
def test_defaults_of_a_wrong_kind_are_the_bundles_fault(
    edit: Callable[..., Path], stated: object
) -> None:
    opened = Bundle.open(edit(fdream={"schema": 1, "defaults": {"prior": stated}}))
    assert opened.defaults("generator") == UseDefaults()
    with pytest.raises(WeightsError, match=r"states fdream\.defaults\.prior"):
        opened.defaults("prior")


def test_defaults_are_what_the_index_states_and_else_ours(edit: Callable[..., Path]) -> None:
    stated = {"prior": {"steps": 7, "size": 64}, "generator": {"size": [96, 160]}}
    opened = Bundle.open(edit(fdream={"schema": 1, "defaults": stated}))
    assert opened.defaults("prior") == UseDefaults(steps=7, size=Size(64, 64))
    assert opened.defaults("generator") == UseDefaults(size=Size(height=96, width=160))


@pytest.mark.parametrize("name", [None, 3, "", "\x1b[2J", "x" * 1000, {"a": 1}])
def test_a_name_that_cannot_be_shown_is_none(edit: Callable[..., Path], name: object) -> None:
    opened = Bundle.open(edit(fdream={"schema": 1, "name": name, "licence": name}))
    assert (opened.name, opened.licence) == ("unnamed", None)


def test_weights_are_counted_and_words_told_without_loading(folder: Path) -> None:
    opened = BundleFolder.open(folder)
    vae = Bundle.open(folder).load("vae")
    assert opened.num_parameters("vae") == sum(p.numel() for p in vae.state_dict().values())
    assert opened.num_parameters("tokenizer") == opened.num_parameters("scheduler") == 0
    assert opened.words("tokenizer") == ["a", "fox"]
    assert opened.words("motion_tokenizer") is None


def test_facts_of_a_bundle_need_no_torch() -> None:
    work = (
        "import sys, fdream.models.bundle_folder; print([m for m in sys.modules if m == 'torch'])"
    )
    ran = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_the_hash_is_that_of_the_components_and_sees_one_byte(
    edit: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    before = Bundle.open(folder).hash
    assert len(before) == 64
    shutil.copytree(folder, tmp_path / "copy")
    assert Bundle.open(tmp_path / "copy").hash == before
    assert Bundle.open(edit(fdream={"schema": 1, "name": "renamed"})).hash == before
    weights = next((folder / "vae").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert Bundle.open(folder).hash != before


class Unwritable:
    """A component whose disk is full."""

    def save_pretrained(self, place: str) -> None:
        Path(place).mkdir()
        raise OSError("disk full")


def test_a_half_written_bundle_is_never_seen(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "tiny", image_encoder=Unwritable())
    with pytest.raises(WeightsError, match="no model_index"):
        Bundle.open(tmp_path / "tiny")
    write(tmp_path / "tiny")
    before = Bundle.open(tmp_path / "tiny").hash
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "tiny", image_encoder=Unwritable())
    assert Bundle.open(tmp_path / "tiny").hash == before


def test_the_next_write_sweeps_up_what_a_kill_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """What no handler stops."""

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(bundle_module.shutil, "rmtree", kill)
        with pytest.raises(Killed):
            write(folder)  # dies when it removes the bundle it has just replaced
    Bundle.open(folder).load("vae")
    write(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
