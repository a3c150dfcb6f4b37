"""What the design keeps to one place, or forbids, is looked for in the whole source.

A test of behaviour finds the fault of a way that somebody thought of. These find the second way.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "fdream").rglob("*.py"))


@dataclass(frozen=True)
class Use:
    """A name that a module uses.

    Attributes:
        module: its path below the package.
        name: as it is written, with its dots: ``Image.open``.
        given: the keywords of a call and what they are, where it is one.
        call: whether it is one.
    """

    module: str
    name: str
    given: tuple[tuple[str, str], ...] = ()
    call: bool = False


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def uses_in(source: str, module: str) -> Iterator[Use]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            given = tuple((word.arg or "**", ast.unparse(word.value)) for word in node.keywords)
            more = tuple(("", ast.unparse(word)) for word in node.args)
            yield Use(module, dotted(node.func), given + more, call=True)
        elif isinstance(node, ast.Attribute):
            yield Use(module, dotted(node))
        elif isinstance(node, ast.Import):
            yield from (Use(module, f"import {name.name}") for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield Use(module, f"import {node.module}.{name.name}")


USES = [
    use
    for path in SOURCES
    for use in uses_in(path.read_text("utf-8"), str(path.relative_to(ROOT / "fdream")))
]


def modules(*names: str, call: bool = True) -> set[str]:
    """Where something of these names is used."""
    return {use.module for use in USES if use.call == call and use.name in names}


def endings(*names: str) -> set[str]:
    """Where a method of these names is called, whatever it is called on."""
    return {use.module for use in USES if use.call and use.name.rpartition(".")[2] in names}


def imported(*packages: str) -> set[str]:
    return {
        use.module
        for use in USES
        for package in packages
        if use.name == f"import {package}" or use.name.startswith(f"import {package}.")
    }


def test_the_whole_package_is_looked_at() -> None:
    assert len(SOURCES) > 150
    assert any(use.name == "torch.no_grad" or use.name == "np.stack" for use in USES)


def test_videos_are_opened_in_one_place() -> None:
    opened = [use for use in USES if use.call and use.name == "av.open"]
    written = {use.module for use in opened if ("", "'w'") in use.given}
    assert {use.module for use in opened} - written == {"data/media.py"}
    assert written == {"data/prep/clip_encoder.py"}
    assert endings("VideoCapture", "VideoReader", "read_video_timestamps") == set()


def test_pictures_are_opened_where_their_size_is_looked_at_first() -> None:
    assert modules("Image.open") == {
        "data/images.py",
        "data/metadata.py",  # the header of a GIF or WebP, for its record; nothing is decoded
        "stages/builtin/motion_metrics.py",  # a layer below data; it looks at the size itself
    }
    # SpriteWorld unpacks the JPEG that it packed a line before.
    assert endings("imread", "imdecode", "imopen") == {"data/spriteworld/degrade.py"}


def test_programs_are_started_in_few_places() -> None:
    assert imported("subprocess", "multiprocessing.popen_spawn_posix") == {
        "data/writers.py",  # FFmpeg, on raw frames
        "core/host_memory.py",  # what the system says of its memory
        "pipelines/proof.py",  # fdream itself
    }
    assert imported("imageio_ffmpeg") == {"data/writers.py"}
    assert modules("os.system", "os.popen", "os.execv", "os.execvp", "pty.spawn") == set()


def test_archives_are_streamed_and_never_unpacked() -> None:
    assert endings("extract", "extractall", "unpack_archive") == set()
    assert imported("zipfile", "rarfile", "py7zr") == set()


def test_no_file_of_weights_can_run_code() -> None:
    # TorchScript does; its hash is known before it is opened.
    assert modules("torch.jit.load") == {"models/known_weights.py"}
    assert modules("torch.load", "torch.hub.load", "joblib.load", "dill.load") == set()
    # Ray carries one part of the work to a process of ours.
    assert modules("pickle.loads") == {"pipelines/prep_engines.py"}
    assert modules("pickle.load", "pickle.Unpickler", "marshal.loads") == set()
    assert [use for use in USES if ("allow_pickle", "True") in use.given] == []
    assert modules("eval", "exec", "compile") == set()


def test_foreign_models_bring_safetensors_and_no_code() -> None:
    said = [dict(use.given) for use in USES if use.call]
    assert {given["trust_remote_code"] for given in said if "trust_remote_code" in given} == {
        "False"
    }
    assert {given["use_safetensors"] for given in said if "use_safetensors" in given} == {"True"}
    assert [given for given in said if "custom_pipeline" in given] == []
    for use in USES:
        if use.call and use.name.startswith("Auto") and use.name.endswith(".from_pretrained"):
            assert ("trust_remote_code", "False") in use.given, use
        if use.call and use.name.endswith("Model.from_pretrained"):
            assert ("use_safetensors", "True") in use.given, use


def test_the_network_is_reached_in_few_places() -> None:
    assert imported("requests", "httpx", "aiohttp", "urllib.request", "http.client", "socket") == {
        "stages/builtin/endpoint_client.py"
    }
    assert all(module.startswith("data/") or "clips/" in module for module in imported("fsspec"))


@pytest.mark.parametrize("backend", ["cuda", "mps", "xpu", "backends"])
def test_one_module_knows_the_backends(backend: str) -> None:
    named = {
        use.module
        for use in USES
        if use.name == f"torch.{backend}" or use.name.startswith(f"torch.{backend}.")
    }
    assert named <= {"core/device.py"}


def test_one_module_draws_bars_and_one_draws_tables() -> None:
    assert imported("tqdm") == {"core/report.py"}
    assert imported("rich") == {"cli/render.py"}
    assert modules("print") == set()


EXTRAS = {"scenedetect", "pyarrow", "pebble", "fsspec", "aiohttp", "ray", "pandas", "peft"} | {
    "torchmetrics",
    "tensorboard",
    "webdataset",
    "ftfy",
    "sentencepiece",
}
"""What extras bring, by the names under which it is imported."""
NEEDS_AN_EXTRA = ("fdream.data.prep", "fdream.pipelines.prep", "fdream.pipelines.inspection")
"""What only ``fdream prep`` imports, once it has asked for its extra."""


def imported_at_once(tree: ast.Module, package: str) -> set[str]:
    """What importing a module imports at once, with the packages around it."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    parts = package.split(".")
    return found | {".".join(parts[:n]) for n in range(1, len(parts))}


def test_a_plain_install_has_all_that_is_imported_without_asking() -> None:
    graph = {}
    for path in SOURCES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = imported_at_once(ast.parse(path.read_text(encoding="utf-8")), name)

    def reached(module: str) -> set[str]:
        seen, open_ends = set(), [module]
        while open_ends:
            name = open_ends.pop()
            if name not in seen:
                seen.add(name)
                open_ends += graph.get(name, ())
        return {name.partition(".")[0] for name in seen} & EXTRAS

    needs = {module: found for module in graph if (found := reached(module))}
    outside = {m: found for m, found in needs.items() if not m.startswith(NEEDS_AN_EXTRA)}
    assert not outside
    assert needs, "prep needs its extra: the graph is not followed"
