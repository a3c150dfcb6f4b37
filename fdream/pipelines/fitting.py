"""``--fit``: stages say what memory they need, and the device is chosen so that it fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal

from fdream.core.asking import asking
from fdream.core.errors import DeviceError, StageError, UnconvertedError, WeightsError
from fdream.core.fit import Demand, Fit, fit
from fdream.stages import registry

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.pipelines.generation import ClipSettings, StillSettings
    from fdream.pipelines.workshop import Workshop

Role = Literal["prior", "generator"]
_ROLES: Final[tuple[Role, ...]] = ("prior", "generator")


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a model fits in one of its uses.

    Attributes:
        stage: ``KIND/NAME:ARG``, as it is chosen.
        fits: None where it does not say what it needs, or cannot be known yet.
        detail: with which choices, or why not.
    """

    stage: str
    fits: bool | None
    detail: str


def fit_workshop(
    shop: Workshop, *, still: StillSettings | None = None, clip: ClipSettings | None = None
) -> Fit | None:
    """Choose number format, offload and tiling for a run, and tell the user.

    A run follows, so what is not on this machine is fetched for it already, unless it is asked for
    within ``core.asking``.

    Args:
        shop: the stages; none has loaded its networks. Its device is replaced.
        still: settings of the first step, if the command takes it.
        clip: settings of the second, likewise.

    Returns:
        What was chosen; None where no stage says what it needs.

    Raises:
        DeviceError: it does not fit.
    """
    if still is not None and clip is not None:
        shop.find_weights()
    demands: list[Demand] = []
    silent: list[str] = []
    if still is not None:
        prior = shop.prior
        found = prior.demand(prior.fit_size(still.size or prior.default_size))
        demands += [found] if found else []
        silent += [] if found else [shop.choices.prior]
    if clip is not None:
        made = shop.generator
        size = made.fit_size(clip.size or made.default_size)
        found = made.demand(size, made.fit_frames(clip.frames or made.default_frames))
        demands += [found] if found else []
        silent += [] if found else [shop.choices.generator]
    for name in silent:
        shop.warn_once(f"--fit: {name} does not say how much memory it needs.")
    if not demands:
        return None
    chosen = fit(shop.device, Demand.together(demands))
    shop.move_to(chosen.device)
    shop.reporter.say(f"fit: {chosen}")
    return chosen


def ask_model(name: str, device: DeviceManager) -> Iterator[Answer]:
    """Answer beforehand whether a model fits, at its own size and length.

    Nothing is fetched or converted for it. Of a model with a short name that is not here the
    weights alone are told; what a single file needs is not known before it is converted.

    Args:
        name: a short name of ``fdream models``, or what may stand after --prior or --generator.
        device: where it would work.

    Raises:
        StageError: no stage is called so.
        WeightsError: the model is not on this machine, and nothing is known of it.
    """
    from fdream.stages.builtin.known_models import MODELS, known

    bare, argument = registry.split_argument(name)
    if argument is None and known(name) is not None:
        bare, argument = "diffusers", name
    written = bare if argument is None else f"{bare}:{argument}"
    roles = [role for role in _ROLES if bare in registry.declared(role)]
    if not roles:
        near = get_close_matches(name, [m.name for m in MODELS], n=1)
        examples = "such as sdxl, diffusers:FOLDER or dreamer:RUN."
        hint = f"did you mean {near[0]}?" if near else examples
        raise StageError(
            f"model {name!r}: neither a short name that `fdream models` lists, nor a prior or "
            f"generator of `fdream plugins`; {hint}"
        )
    if bare == "diffusers" and argument is not None:
        roles = [_role_of(argument)]
    for role in roles:
        yield _answer(role, written, device)


def _answer(role: Role, written: str, device: DeviceManager) -> Answer:
    from fdream.stages.builtin.known_models import known

    stage = f"{role}/{written}"
    remark = ""
    try:
        with asking():
            demand = _demand(role, written, device)
    except UnconvertedError as error:
        return Answer(stage, None, f"{error} How much memory it needs is known then.")
    except WeightsError:
        found = known(registry.split_argument(written)[1] or "")
        if found is None:
            raise
        remark = f"not here, {found.size_gb:g} GB to fetch; of its weights alone: "
        demand = found.demand
    if demand is None:
        return Answer(stage, None, "does not say how much memory it needs")
    try:
        return Answer(stage, True, f"{remark}fits: {fit(device, demand)}")
    except DeviceError as error:
        return Answer(stage, False, f"{remark}{error}")


def _demand(role: Role, written: str, device: DeviceManager) -> Demand | None:
    if role == "prior":
        prior = registry.build("prior", written, {}, device=device)
        return prior.demand(prior.default_size)
    made = registry.build("generator", written, {}, device=device)
    return made.demand(made.default_size, made.default_frames)


def _role_of(model: str) -> Role:
    """Tell whether a pipeline of diffusers draws or animates, without loading it."""
    from fdream.core.device import DeviceManager
    from fdream.models.single_files import is_single_file
    from fdream.stages.builtin.known_models import known, misnamed
    from fdream.stages.builtin.pipeline_families import FAMILIES
    from fdream.stages.builtin.ready_pipelines import ReadyPipeline

    found = known(model)
    if found is not None:
        return found.kind
    wrong = misnamed(model)
    if wrong is not None:
        raise StageError(f"model diffusers:{model}: {wrong}")
    if is_single_file(model):
        return "prior"
    ready = ReadyPipeline(model, device=DeviceManager.choose("cpu"))
    with asking():
        return "generator" if ready.class_name in FAMILIES else "prior"
