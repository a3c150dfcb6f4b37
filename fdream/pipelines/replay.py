"""Make an output again from its record.

A record comes with a file, and so perhaps from a stranger. It names stages; which of them are used
is decided here: those that come with fdream, with weights of the recorded hash. Everything else
takes somebody's consent, or a choice of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from fdream.core.errors import DataError, WeightsError
from fdream.models.bundle_folder import BundleFolder
from fdream.models.bundle_survey import find_bundles, packaged
from fdream.pipelines.generation import first_frame, image_to_video, text_to_image, text_to_video
from fdream.pipelines.provenance import environment_record, frames_hash
from fdream.pipelines.workshop import Sampling, StageChoices
from fdream.stages import registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fdream.pipelines.recorded import Recorded, RecordedStage
    from fdream.pipelines.results import Clip, Still
    from fdream.pipelines.workshop import Workshop

Role = Literal["prior", "generator", "scheduler"]

_WEIGHTED: Final[tuple[Role, ...]] = ("prior", "generator")
_BUNDLE: Final = "bundle"
_UNTOLD: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Choice:
    """A stage that will be used.

    Attributes:
        role: of the stage.
        name: as a command takes it.
        owner: the distribution that declares it here, with its version.
        consent: why somebody has to agree first; empty where nobody has to.
    """

    role: Role
    name: str
    owner: str
    consent: str = ""


def choose_stages(
    recorded: Recorded, given: Mapping[str, str | None], cache: Path
) -> dict[Role, Choice]:
    """Decide which stages make the output again; no code of a plugin is imported.

    Args:
        recorded: the record.
        given: by role, what the user chose in place of the record.
        cache: root of the cache, where bundles may lie.

    Raises:
        StageError: a stage is not installed.
        WeightsError: no bundle here has the recorded hash.
        DataError: the record names a path.
    """
    chosen: dict[Role, Choice] = {}
    for role in get_args(Role):
        asked, stage = given.get(role), recorded.stages.get(role)
        if not _takes_part(role, recorded):
            continue
        if asked is not None:
            chosen[role] = Choice(role, asked, registry.declaration(role, asked).owner)
        elif stage is not None:
            chosen[role] = _choose(role, stage, cache)
    return chosen


def _takes_part(role: Role, recorded: Recorded) -> bool:
    steps = (recorded.still, recorded.clip)
    if role == "scheduler":
        return any(step is not None and step.sampling.scheduler for step in steps)
    return steps[_WEIGHTED.index(role)] is not None


def _choose(role: Role, stage: RecordedStage, cache: Path) -> Choice:
    found = registry.declaration(role, stage.name)
    if not found.builtin:
        _refuse_path(role, stage.name)
        said = f"the {role} {stage.name!r} is code of {found.owner}, not of fdream"
        return Choice(role, stage.name, found.owner, said)
    declares = registry.spec(role, stage.name)
    if declares.argument == _BUNDLE:
        return Choice(role, _with_weights(role, stage, cache), found.owner)
    _refuse_path(role, stage.name)
    said = f"the {role} {stage.name!r} may download {' and '.join(declares.downloads)}"
    return Choice(role, stage.name, found.owner, said if declares.downloads else "")


def _refuse_path(role: Role, name: str) -> None:
    """Refuse to follow a record to a place on this machine."""
    argument = registry.split_argument(name)[1] or ""
    if argument.startswith(("/", ".", "~")) or "\\" in argument or ".." in argument:
        raise DataError(
            f"record: names the {role} {name!r}, a path, and no path is taken from a file; "
            f"name the stage yourself with --{role}."
        )


def _with_weights(role: Role, stage: RecordedStage, cache: Path) -> str:
    """Name a stage with the bundle that has the recorded hash, wherever it lies here."""
    bare, argument = registry.split_argument(stage.name)
    own = registry.spec(role, bare).options.model_fields[_BUNDLE].default
    inside = packaged(own) if argument is None and isinstance(own, str) else None
    if inside is not None and stage.sha256 in (None, BundleFolder.open(inside).hash):
        return bare
    for found in find_bundles(cache, [Path()]):
        named = found.bundle is not None and found.bundle.name == stage.bundle
        if named and found.bundle is not None and found.bundle.hash == stage.sha256:
            return f"{bare}:{found.written}"
    if inside is not None:
        return bare  # other weights; ``other_weights`` tells, and the user decides
    raise WeightsError(
        f"record: the {role} {stage.name!r} had weights that no bundle here has "
        f"(sha256 {(stage.sha256 or 'not told')[:12]}; looked at were those that `fdream models` "
        f"lists); name them with --{role} {bare}:FOLDER."
    )


def stage_choices(recorded: Recorded, chosen: Mapping[Role, Choice]) -> StageChoices:
    """Return the chosen stages as a workshop takes them.

    The splitter is only named for the new record: the captions are split already.
    """
    names: dict[str, str] = {role: chosen[role].name for role in _WEIGHTED if role in chosen}
    splitter = recorded.stages.get("splitter")
    if splitter is not None and _splitter_is_known(splitter):
        names["splitter"] = splitter.name
    return StageChoices(**names)


def _splitter_is_known(splitter: RecordedStage) -> bool:
    return registry.split_argument(splitter.name)[0] in registry.declared("splitter")


def other_weights(recorded: Recorded, shop: Workshop) -> list[str]:
    """Name the stages whose weights are not those that made the output."""
    return [
        f"the {role} {here['name']!r} has weights {str(here.get('sha256'))[:12]}, and "
        f"{told.sha256[:12]} made it"
        for role, told, here in _stages(recorded, shop)
        if told.sha256 is not None and here.get("sha256") != told.sha256
    ]


def differences(recorded: Recorded, shop: Workshop) -> list[str]:
    """Name what is recorded and is another here: versions, device, format, threads, stages."""
    there, here = _flat(recorded.environment.model_dump()), _flat(environment_record(shop.device))
    found = [
        f"{key} {told} there, {here.get(key, 'none')} here"
        for key, told in there.items()
        if told is not None and told != here.get(key)
    ]
    for role, told, stage in _stages(recorded, shop):
        known = {"version": told.version, **(told.model_extra or {})}
        found += [
            f"{role} {key} {value} there, {stage.get(key, 'none')} here"
            for key, value in known.items()
            if value not in (stage.get(key), _UNTOLD)
        ]
    return found


def _flat(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **environment.get("versions", {}),
        **{k: v for k, v in environment.items() if k != "versions"},
    }


def _stages(
    recorded: Recorded, shop: Workshop
) -> Iterator[tuple[Role, RecordedStage, dict[str, Any]]]:
    for role in _WEIGHTED:
        told = recorded.stages.get(role)
        if told is not None and _takes_part(role, recorded):
            yield role, told, shop.stage_record(role, getattr(shop.choices, role))


def refuse_other_image(recorded: Recorded, image: NDArray[np.uint8], shop: Workshop) -> None:
    """Refuse an image that is not the one which was animated.

    Raises:
        DataError: its sha256, once it has the video's size, is not the recorded one.
    """
    assert recorded.clip is not None
    if frames_hash(first_frame(image, recorded.clip, shop)) != recorded.first_frame_sha256:
        raise DataError(
            "--image: not the image that was animated (the sha256 of the first frame is another); "
            "give that one, as it was."
        )


def remake(recorded: Recorded, shop: Workshop, image: NDArray[np.uint8] | None) -> Still | Clip:
    """Make the output again.

    Args:
        recorded: how it was made.
        shop: the stages.
        image: what i2v animates, uint8 (H, W, 3); else None.
    """
    captions, sample = recorded.captions, recorded.sample
    splitter = recorded.stages.get("splitter")
    if splitter is None or not _splitter_is_known(splitter):
        sample = replace(sample, prompt="")  # else the new record would name another splitter
    still, clip = recorded.still, recorded.clip
    if still is not None:
        still = replace(still, sampling=_pinned("prior", still.sampling, recorded, shop))
    if clip is not None:
        clip = replace(clip, sampling=_pinned("generator", clip.sampling, recorded, shop))
    if clip is None:
        assert still is not None
        return text_to_image(captions, sample, still, shop)
    if still is None:
        assert image is not None
        return image_to_video(image, captions, sample, clip, shop)
    return text_to_video(captions, sample, still, clip, shop)


def _pinned(
    role: Literal["prior", "generator"], asked: Sampling, recorded: Recorded, shop: Workshop
) -> Sampling:
    """Ask for what the stage did by itself, where by itself it would do something else here."""
    there, here = recorded.stages[role].defaults.model_dump(), shop.defaults(role)
    changed = {
        key: value
        for key, value in there.items()
        if value is not None and getattr(asked, key) is None and here.get(key) != value
    }
    return replace(asked, **changed)
