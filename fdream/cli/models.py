"""``fdream models``: which bundles this machine has, and how to choose one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fdream.cli import render
from fdream.cli.params import JsonOption, reporter_of
from fdream.core.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from fdream.models.bundle_folder import BundleFolder
    from fdream.models.bundle_survey import Found, Use
    from fdream.stages.builtin.known_models import KnownModel

_USES: Final = ("prior", "generator")


def models(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[BUNDLE]", help="A packaged name, a bundle's folder or a run: tell all of it."
        ),
    ] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--in", metavar="FOLDER", help="Look for bundles here too; repeatable."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the bundles of weights on this machine, or tell all about one, its words included.

    Looked at: those inside fdream, models/ in the cache, ./runs, and what --in names. Nothing is
    loaded or fetched. Memory is that of the weights in float32, as they are on a CPU; half
    precision takes half of it, and work space that grows with the picture comes on top.

    After them come models of other people that have a short name; their memory is that in half
    precision. `fdream doctor --model NAME` says whether one fits here.

    \b
    Examples:
      fdream models
      fdream models pocket
      fdream models --in /data/bundles --json
    """
    from fdream.core.asking import asking
    from fdream.core.settings import load_settings
    from fdream.models.bundle_survey import find_bundles
    from fdream.stages.builtin.known_models import MODELS

    if name is not None:
        if folders:
            raise UsageError("--in adds to the list; leave it out to ask about one bundle.")
        with asking():
            facts = _all_about(name)
        if json:
            render.as_json(facts)
        else:
            _show(facts)
        return
    for folder in folders or ():
        if not folder.is_dir():
            raise UsageError(f"--in {folder}: no such folder.")
    everything = find_bundles(load_settings().settings.cache, folders or [])
    with asking():
        summaries = [_summary(found) for found in everything]
    summaries += [_known_summary(model) for model in MODELS]
    if json:
        render.as_json(summaries)
        return
    columns = ["bundle", "parameters", "disk", "memory", "licence", "image", "video"]
    rows = [_row(summary) for summary in summaries]
    render.table(columns, rows, optional=("licence", "parameters", "memory"))
    reporter_of(ctx).say(
        "`fdream models BUNDLE` tells more of one, and the options that choose it."
    )


def _all_about(name: str) -> dict[str, Any]:
    from fdream.models.bundle_survey import Found, packaged
    from fdream.stages.builtin.known_models import known

    # The list says how it is chosen, so that is a name for it too.
    foreign = known(name.removeprefix("diffusers:"))
    if foreign is not None:
        return _known_summary(foreign)
    inside = packaged(name)
    found = Found.at("folder", Path(name)) if inside is None else Found.at("packaged", inside)
    facts = _summary(found)
    if found.bundle is None or "fault" in facts:
        raise WeightsError(f"{facts['fault']} `fdream models` lists what is there.")
    parts = {
        part: {
            "class": found.bundle.class_of(part),
            "parameters": found.bundle.num_parameters(part),
        }
        for part in found.bundle.component_names
    }
    return {**facts, "sha256": found.bundle.hash, "parts": parts, "words": _words(found.bundle)}


def _known_summary(model: KnownModel) -> dict[str, Any]:
    return {
        "bundle": f"diffusers:{model.name}",
        "origin": "hub",
        "repository": model.repository,
        "licence": model.licence,
        "fetch_bytes": int(model.size_gb * 1e9),
        "memory_bytes": int(model.memory_gb * 1e9),
        "good_at": model.good_at,
        "choose": {model.kind: f"--{model.kind} diffusers:{model.name}"},
    }


def _summary(found: Found) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "bundle": found.written,
        "origin": found.origin,
        "path": str(found.path),
    }
    if found.bundle is None:
        return {**facts, "fault": found.fault}
    try:
        return {
            **facts,
            "name": found.bundle.name,
            "licence": found.bundle.licence,
            "parameters": sum(map(found.bundle.num_parameters, found.bundle.component_names)),
            "disk_bytes": found.bundle.bytes_on_disk,
            "memory_bytes": found.bundle.bytes_in_memory,
            "defaults": {use: _defaults(found.bundle, use) for use in found.choices},
            "choose": {use: f"--{use} {shlex.quote(it)}" for use, it in found.choices.items()},
        }
    except WeightsError as error:
        return {**facts, "fault": str(error)}


def _defaults(bundle: BundleFolder, use: Use) -> dict[str, Any]:
    stated = bundle.defaults(use)
    video = {"frames": stated.frames, "fps": stated.fps} if use == "generator" else {}
    return {"size": str(stated.size), **stated.sampling, **video}


def _words(bundle: BundleFolder) -> list[str] | None:
    """Every word that captions may use; None where words are cut into pieces."""
    spoken = [bundle.words(name) for name in ("tokenizer", "motion_tokenizer")]
    known = [words for words in spoken if words is not None]
    return sorted(set().union(*known)) if known else None


def _row(facts: dict[str, Any]) -> list[str]:
    if "fault" in facts:
        return [facts["bundle"], *["?"] * 3, facts["fault"], "-", "-"]
    if facts["origin"] == "hub":
        fetched, memory = _human(facts["fetch_bytes"]), _human(facts["memory_bytes"])
        uses = (facts["good_at"] if use in facts["choose"] else "-" for use in _USES)
        return [facts["bundle"], "-", f"{fetched} to fetch", memory, facts["licence"], *uses]
    image, video = (facts["defaults"].get(use) for use in ("prior", "generator"))
    return [
        facts["bundle"],
        _count(facts["parameters"]),
        _human(facts["disk_bytes"]),
        _human(facts["memory_bytes"]),
        facts["licence"] or "-",
        f"{image['size']}, {image['steps']} steps" if image else "-",
        f"{video['frames']} frames, {video['steps']} steps" if video else "-",
    ]


def _show(facts: dict[str, Any]) -> None:
    if facts["origin"] == "hub":
        _show_known(facts)
        return
    parts = [
        f"{name}: {part['class']}, {_count(part['parameters'])} parameters"
        if part["parameters"]
        else f"{name}: {part['class']}"
        for name, part in facts["parts"].items()
    ]
    words = facts["words"]
    spoken = (
        "any; they are cut into pieces" if words is None else f"{len(words)}: {' '.join(words)}"
    )
    render.facts(
        facts["bundle"],
        [
            ("name", facts["name"]),
            ("folder", facts["path"]),
            ("licence", facts["licence"] or "not stated"),
            ("choose", _choice(facts)),
            ("size", f"{_count(facts['parameters'])} parameters, {_human(facts['disk_bytes'])}"),
            ("memory", f"{_human(facts['memory_bytes'])} in float32, and work space"),
            *_made(facts["defaults"]),
            ("sha256", facts["sha256"]),
            *(("" if number else "parts", part) for number, part in enumerate(parts)),
            ("words", spoken),
        ],
    )


def _show_known(facts: dict[str, Any]) -> None:
    render.facts(
        facts["bundle"],
        [
            ("repository", facts["repository"]),
            ("licence", facts["licence"]),
            ("choose", " ".join(facts["choose"].values())),
            ("size", f"{_human(facts['fetch_bytes'])} to fetch"),
            ("memory", f"{_human(facts['memory_bytes'])} in half precision, and work space"),
            ("good at", facts["good_at"]),
        ],
    )


def _choice(facts: dict[str, Any]) -> str:
    # A part of a model, such as an autoencoder alone, is what the next training starts from.
    chosen = " ".join(facts["choose"].values())
    return chosen or f"fdream train RECIPE --init-from {shlex.quote(facts['path'])}"


def _made(defaults: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    made = []
    for use, it in defaults.items():
        frames = f", {it['frames']} frames at {it['fps']:g} fps" if use == "generator" else ""
        sampling = f"{it['scheduler']}, {it['steps']} steps, guidance {it['guidance']:g}"
        output = "video" if use == "generator" else "image"
        made.append((output, f"{it['size']}{frames}, {sampling}"))
    return made


def _count(number: int) -> str:
    return f"{number / 1e6:.1f}M" if number >= 1e5 else str(number)


def _human(size: int) -> str:
    from pydantic import ByteSize

    return ByteSize(size).human_readable(decimal=True)
