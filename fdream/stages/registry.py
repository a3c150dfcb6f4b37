"""Find a stage by name and build it, at three depths of rising cost.

``declared`` reads package metadata and imports nothing. ``spec`` imports the stage's light module.
``build`` validates options, imports the heavy code, constructs and checks the interface. A faulty
plugin is refused only when it is chosen, by its name and its distribution's.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from pydantic import ValidationError

from fdream.core.errors import FdreamError, PluginError, StageError, UsageError
from fdream.stages.declarations import Declaration, all_declarations, declared
from fdream.stages.interfaces import (
    FlowSupervisor,
    Metric,
    SchedulerStage,
    SplitterStage,
    TextToImagePrior,
    VideoGenerator,
)
from fdream.stages.spec import API, StageKind, StageOptions, StageSpec

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager

__all__ = [
    "INTERFACES",
    "build",
    "declaration",
    "declared",
    "load_spec",
    "missing_requirements",
    "options",
    "spec",
    "split_argument",
]

INTERFACES: Final[dict[StageKind, type]] = {
    "prior": TextToImagePrior,
    "generator": VideoGenerator,
    "supervisor": FlowSupervisor,
    "scheduler": SchedulerStage,
    "splitter": SplitterStage,
    "metric": Metric,
}


def split_argument(name: str) -> tuple[str, str | None]:
    """Split ``NAME:ARG``; the argument may hold further colons."""
    bare, colon, argument = name.partition(":")
    return bare, argument if colon else None


def declaration(kind: StageKind, name: str) -> Declaration:
    """Return the one usable declaration of a name.

    Raises:
        StageError: no such stage is installed, or it is disabled.
        PluginError: several distributions declare it.
    """
    bare, _ = split_argument(name)
    found = declared(kind).get(bare)
    if found is None:
        raise StageError(_unknown(kind, bare))
    if found.rivals:
        claimants = " and ".join((found.owner, *found.rivals))
        raise PluginError(
            f"{kind} {bare!r} is declared by {claimants}; a name has one owner. "
            f"Uninstall one of them, or name the other in FDREAM_PLUGINS."
        )
    return found


def spec(kind: StageKind, name: str) -> StageSpec:
    """Import the light module of a stage and return what it declares.

    Raises:
        StageError: no such stage is installed, or it is disabled.
        PluginError: the declaration is ambiguous, does not import or does not hold.
    """
    return load_spec(declaration(kind, name))


def load_spec(found: Declaration) -> StageSpec:
    """Import the light module a declaration leads to, and hold it to what it declares.

    Raises:
        PluginError: it does not import, is no spec, or disagrees with its entry point.
    """
    target = found.entry_point.value
    try:
        loaded = found.entry_point.load()
    except (Exception, SystemExit) as error:  # the plugin boundary: foreign code runs here
        raise PluginError(
            f"{_name(found)} does not import: {target} raised {_reason(error)}. "
            f"Reinstall or uninstall {found.distribution}."
        ) from error
    if not isinstance(loaded, StageSpec):
        raise PluginError(
            f"{_name(found)}: {target} is a {type(loaded).__name__}, not a StageSpec. "
            f"{_to_the_author(found)}"
        )
    if loaded.api != API:
        raise PluginError(
            f"{_name(found)} is written for stage API {loaded.api}, this fdream speaks {API}. "
            f"Install a matching {found.distribution}, or a matching fdream."
        )
    if (loaded.kind, loaded.name) != (found.kind, found.name):
        raise PluginError(
            f"{_name(found)} calls itself {loaded.kind}/{loaded.name} in {target}; "
            f"entry point and spec must agree. {_to_the_author(found)}"
        )
    return loaded


def options(kind: StageKind, name: str, given: Mapping[str, Any]) -> StageOptions:
    """Validate a stage's options, with the argument of ``NAME:ARG`` among them.

    Raises:
        UsageError: an option is unknown, missing or has a value its type refuses.
    """
    declares = spec(kind, name)
    bare, argument = split_argument(name)
    values = dict(given)
    if argument is not None:
        if declares.argument is None:
            raise UsageError(f"{kind} {name!r}: {bare!r} takes no argument; write {bare!r}.")
        if values.setdefault(declares.argument, argument) != argument:
            raise UsageError(
                f"{kind} {name!r}: option {declares.argument} is also given as "
                f"{values[declares.argument]!r}; give it once."
            )
    try:
        return declares.options.model_validate(values)
    except ValidationError as error:
        raise UsageError(_option_problems(declares, error)) from error


def missing_requirements(declares: StageSpec) -> list[str]:
    """Return the modules a stage requires and this Python lacks; imports none of them."""
    return [module for module in declares.requires if not _present(module)]


@overload
def build(
    kind: Literal["prior"], name: str, given: Mapping[str, Any], *, device: DeviceManager
) -> TextToImagePrior: ...
@overload
def build(
    kind: Literal["generator"], name: str, given: Mapping[str, Any], *, device: DeviceManager
) -> VideoGenerator: ...
@overload
def build(
    kind: Literal["supervisor"], name: str, given: Mapping[str, Any], *, device: DeviceManager
) -> FlowSupervisor: ...
@overload
def build(
    kind: Literal["scheduler"], name: str, given: Mapping[str, Any], *, device: DeviceManager
) -> SchedulerStage: ...
@overload
def build(
    kind: Literal["splitter"], name: str, given: Mapping[str, Any], *, device: DeviceManager
) -> SplitterStage: ...
@overload
def build(
    kind: Literal["metric"], name: str, given: Mapping[str, Any], *, device: DeviceManager
) -> Metric: ...
@overload
def build(
    kind: StageKind, name: str, given: Mapping[str, Any], *, device: DeviceManager
) -> object: ...
def build(kind: StageKind, name: str, given: Mapping[str, Any], *, device: DeviceManager) -> object:
    """Build a stage: validate options, import its code, construct it, check the interface.

    Args:
        kind: which kind of stage.
        name: ``NAME`` or ``NAME:ARG``.
        given: options for the stage's options model.
        device: where it works, handed to the factory.

    Raises:
        StageError: not installed, disabled, or it lacks something it requires.
        PluginError: its code is at fault.
        UsageError: its options are.
    """
    found = declaration(kind, name)
    declares = spec(kind, name)
    validated = options(kind, name, given)
    missing = missing_requirements(declares)
    if missing:
        raise StageError(
            f"{_name(found)} needs {', '.join(missing)}, not installed here. "
            f"Install {found.distribution} with its dependencies: pip install {found.distribution}"
        )
    factory = _factory(found, declares)
    interface = INTERFACES[kind]
    if isinstance(factory, type) and not issubclass(factory, interface):
        raise PluginError(_wrong_interface(found, declares, interface))
    try:
        stage: object = factory(validated, device=device)
    except FdreamError:
        raise
    except Exception as error:
        if found.builtin:
            raise  # a fault of ours is reported as one
        raise PluginError(
            f"{_name(found)} could not be built: {declares.factory} raised {_reason(error)}. "
            f"{_to_the_author(found)}"
        ) from error
    if not isinstance(stage, interface):
        raise PluginError(_wrong_interface(found, declares, interface))
    return stage


def _factory(found: Declaration, declares: StageSpec) -> Any:
    module, _, attribute = declares.factory.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # the plugin boundary: foreign code runs here
        raise PluginError(
            f"{_name(found)}: its factory {declares.factory} does not import: {_reason(error)}. "
            f"Reinstall or uninstall {found.distribution}."
        ) from error


def _unknown(kind: StageKind, name: str) -> str:
    everything = all_declarations(kind)
    for found in everything:
        if found.name == name and found.disabled is not None:
            return f"{_name(found)} is disabled: {found.disabled}."
    known = sorted(declared(kind))
    if not known:
        return (
            f"{kind} {name!r} is not installed, nor is any other {kind}. If this fdream runs from "
            f"a checkout, its stages are declared once it is installed: pip install -e . "
            f"(metadata is fixed at install, so a new entry point needs a new install)."
        )
    written = {stage: stage for stage in known} | _written_arguments(kind)
    near = get_close_matches(name, written, n=1)
    hint = f" Did you mean {written[near[0]]!r}?" if near else ""
    return (
        f"{kind} {name!r} is not installed.{hint} Installed: {', '.join(known)}. "
        f"`fdream plugins --kind {kind}` says more."
    )


def _written_arguments(kind: StageKind) -> dict[str, str]:
    """Return how to write the arguments that have names of their own, by these names."""
    written: dict[str, str] = {}
    for stage, found in declared(kind).items():
        try:
            names = load_spec(found).argument_names
        except PluginError:
            continue  # what is wrong with another plugin is not what was asked
        written |= {name: f"{stage}:{name}" for name in names}
    return written


def _option_problems(declares: StageSpec, error: ValidationError) -> str:
    known = list(declares.options.model_fields)
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"])
        option = f" option {place}" if place else ""
        line = f"{declares.kind}/{declares.name}{option}: "
        if problem["type"] == "value_error":  # a sentence of the option's own, value and all
            line += str(problem["ctx"]["error"])
        elif problem["type"] == "missing":
            line += "has to be given"
            if place == declares.argument:
                line += f"; write {declares.name}:{place.upper()}"
        else:
            line += f"{problem['msg']}, got {problem['input']!r}"
        if problem["type"] == "extra_forbidden":
            near = get_close_matches(place, known, n=1)
            line += f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known) or '-'}"
        lines.append(line)
    return "\n".join(lines)


def _present(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package is missing, or is half-imported
        return False


def _name(found: Declaration) -> str:
    return f"{found.kind} {found.name!r} (from {found.owner})"


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _to_the_author(found: Declaration) -> str:
    return f"Tell the author of {found.distribution}."


def _wrong_interface(found: Declaration, declares: StageSpec, interface: type) -> str:
    return (
        f"{_name(found)}: {declares.factory} is not a {interface.__name__}, "
        f"as a {found.kind} must be. {_to_the_author(found)}"
    )
