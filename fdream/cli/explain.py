"""``--explain``: what a generation command would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fdream.cli import render

if TYPE_CHECKING:
    from fdream.cli.delivery import Delivery
    from fdream.pipelines.generation import ClipSettings, StillSettings
    from fdream.pipelines.workshop import Workshop

_DESTINATIONS = {"bytes": "standard output", "named": "a new file here"}
_LEFT_OPEN = {
    "seed": "drawn for each, unless its line or image says one",
    "motion": "as the prompt or the image says",
}


def explain_run(
    shop: Workshop,
    delivery: Delivery,
    asked: Mapping[str, Any],
    *,
    fit: bool,
    still: StillSettings | None = None,
    clip: ClipSettings | None = None,
) -> None:
    """Print the stages of a command, every setting of theirs, the device and the destination.

    Nothing is fetched or converted for it; a model that is not here yet is told by its error.

    Args:
        shop: the stages; they say what they would take by default, and none loads its networks.
        delivery: where results would go.
        asked: the command's own facts by name.
        fit: whether the stages would be fitted into the memory there is.
        still: settings of the prior, where the command has one.
        clip: settings of the generator, likewise.
    """
    from fdream.core.asking import asking

    with asking():
        if fit:
            from fdream.pipelines.fitting import fit_workshop

            fit_workshop(shop, still=still, clip=clip)
        facts, defaults = _facts(shop, delivery, asked, still, clip)
    if delivery.as_json:
        render.as_json(facts)
    else:
        rows = [
            [key, f"{text} (default)" if key in defaults else text] for key, text in _rows(facts)
        ]
        render.table(["what", "how"], rows)


def _facts(
    shop: Workshop,
    delivery: Delivery,
    asked: Mapping[str, Any],
    still: StillSettings | None,
    clip: ClipSettings | None,
) -> tuple[dict[str, Any], set[str]]:
    """Return what there is to say, and which of it nobody asked for."""
    from fdream.core.captions import CaptionPair
    from fdream.pipelines.generation import recipe
    from fdream.pipelines.results import Sample

    # What a record would say: sizes and frames as the stages can make them.
    planned = recipe(CaptionPair("", ""), Sample(0), shop, still=still, clip=clip)
    facts: dict[str, Any] = {**asked, "splitter": _stage(shop, "splitter")}
    defaults: set[str] = set()
    for role, settings in (("prior", still), ("generator", clip)):
        if settings is None:
            continue
        stated = shop.defaults("prior" if role == "prior" else "generator")
        rate = {"fps": planned["fps"]} if role == "generator" else {}
        facts[role] = {**_stage(shop, role), **stated, **planned["options"][role], **rate}
        defaults |= {f"{role}.{key}" for key in stated if key not in _asked_for(settings)}
    device = shop.device.describe()
    facts["device"] = {key: device[key] for key in ("device", "name", "dtype", "dtype_reason")}
    facts["output"] = {
        "to": _DESTINATIONS.get(delivery.place, str(delivery.target)),
        **delivery.encoding.record(),
        "metadata": delivery.metadata,
    }
    return facts, defaults


def _stage(shop: Workshop, role: str) -> dict[str, Any]:
    from fdream.stages import registry

    kind: Any = role
    chosen = getattr(shop.choices, role)
    found = registry.declaration(kind, chosen)
    told = shop.stage_record(kind, chosen)
    told.pop("defaults", None)
    return {**told, "what": registry.load_spec(found).summary}


def _asked_for(settings: StillSettings | ClipSettings) -> set[str]:
    """The settings that are not left to the stage."""
    flat = asdict(settings)
    flat |= flat.pop("sampling")
    return {key for key, value in flat.items() if value is not None}


def _rows(facts: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{within}{key}.")
        elif value is not None or key in _LEFT_OPEN:
            yield f"{within}{key}", _LEFT_OPEN[key] if value is None else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
