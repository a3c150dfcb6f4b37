"""What lies in a bundle's folder, told without loading a network; nothing here needs torch.

A folder may come from a stranger. Its index is held to a shape, names stay inside the folder, and
before a library opens a component its files are looked at: what is missing, cut off or a pickle is
told in one line that names it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from fdream.core.errors import WeightsError
from fdream.core.sizes import Size
from fdream.models.component_files import json_object, num_elements, weight_files
from fdream.models.weight_places import Place

if TYPE_CHECKING:
    from fdream.core.fit import Demand

SCHEMA: Final = 1
INDEX_NAME: Final = "model_index.json"

_SCHEDULE: Final = "NoiseSchedule"
_TOKENIZERS: Final = frozenset({"CLIPTokenizer", "T5Tokenizer", "PreTrainedTokenizerFast"})
_COMPONENT_NAME: Final = re.compile(r"\w[\w.-]*", re.ASCII)
_LONGEST_NAME: Final = 100
_SIZE: Final = Size(height=128, width=128)

Stated = TypeVar("Stated")


def _as_size(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


@dataclass(frozen=True, slots=True)
class UseDefaults:
    """What a bundle states for one of its uses, with ours where it states nothing.

    Attributes:
        size: of the picture.
        scheduler: the sampler, by its stage's name.
        steps: sampling steps.
        guidance: how strictly the caption is followed.
        rescale: share of the guided prediction brought back to the spread of the conditional one.
        frames: of a video.
        fps: frames per second.
    """

    size: Annotated[Size, BeforeValidator(_as_size)] = _SIZE
    scheduler: Literal["dreamer", "ancestral"] = "dreamer"
    steps: Annotated[int, Field(ge=1, le=1000)] = 25
    guidance: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 3.0
    rescale: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    frames: Annotated[int, Field(ge=1, le=10_000)] = 16
    fps: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 8.0

    @property
    def sampling(self) -> dict[str, Any]:
        """What an output records of them: the choices that its own options may leave open."""
        return {"scheduler": self.scheduler, "steps": self.steps, "guidance": self.guidance}


@dataclass(frozen=True)
class BundleFolder:
    """An opened bundle folder.

    Attributes:
        path: the folder.
        index: its parsed ``model_index.json``.
    """

    path: Path
    index: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a bundle, or the bundle that a run folder holds.

        Raises:
            WeightsError: there is no bundle, its index is damaged, or a newer fdream wrote it.
        """
        folder = Path(path)
        if not (folder / INDEX_NAME).is_file() and (folder / "bundle" / INDEX_NAME).is_file():
            folder = folder / "bundle"
        if not (folder / INDEX_NAME).is_file():
            raise WeightsError(
                f"bundle {str(path)!r}: no {INDEX_NAME} there; give a bundle folder or a run "
                "folder of `fdream train`."
            )
        index = json_object(folder / INDEX_NAME, f"bundle {str(path)!r}")
        _check_index(index, str(path))
        return cls(folder, index)

    @property
    def information(self) -> Mapping[str, Any]:
        """The index's ``fdream`` table: name, defaults, sprites, licence."""
        table: Mapping[str, Any] = self.index["fdream"]
        return table

    @property
    def name(self) -> str:
        """What the bundle calls itself."""
        return _short_text(self.information.get("name")) or "unnamed"

    @property
    def licence(self) -> str | None:
        """The licence it states for its weights, or None."""
        return _short_text(self.information.get("licence"))

    def stated(self, kind: type[Stated], *keys: str) -> Stated:
        """Read a part of ``information`` into a dataclass; what is not stated has its default.

        Raises:
            WeightsError: a value is not of the type, or out of the range, that the class declares.
        """
        table: Any = self.information
        for key in keys:
            table = table.get(key, {}) if isinstance(table, Mapping) else table
        try:
            return TypeAdapter(kind).validate_python(table)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            place = ".".join(("fdream", *keys, *map(str, found["loc"])))
            raise WeightsError(
                f"bundle {self.path.name!r}: {INDEX_NAME} states {place} = "
                f"{str(found['input'])[:80]!r}: {found['msg']}; correct it, or fetch the bundle "
                "again."
            ) from error

    def defaults(self, use: str) -> UseDefaults:
        """Return what is stated for ``"prior"`` or ``"generator"``.

        Raises:
            WeightsError: see ``stated``.
        """
        return self.stated(UseDefaults, "defaults", use)

    @property
    def component_names(self) -> list[str]:
        return sorted(k for k, v in self.index.items() if isinstance(v, list))

    def has(self, name: str) -> bool:
        return name in self.component_names

    def class_of(self, name: str) -> str:
        """Return the class that the index names for a component."""
        return str(self.index[name][1])

    def config(self, name: str) -> dict[str, Any]:
        """Return a component's configuration, without loading it.

        Raises:
            WeightsError: it has none, or one that cannot be read.
        """
        return json_object(self.folder(name) / "config.json", self._place(name))

    def folder(self, name: str) -> Path:
        """Return a component's subfolder.

        Raises:
            WeightsError: the bundle lacks it.
        """
        if not self.has(name):
            held = ", ".join(self.component_names)
            raise WeightsError(
                f"bundle {self.path.name!r} has no {name!r} (it holds {held}); train that stage or "
                "choose another bundle."
            )
        place = self.elsewhere.get(name)
        return self.path / name if place is None else place.find()

    @cached_property
    def elsewhere(self) -> Mapping[str, Place]:
        """Components that lie in another model's folder, as those of a large base do."""
        table = self.information.get("elsewhere", {})
        return {name: Place(*where) for name, where in table.items()}

    @cached_property
    def hash(self) -> str:
        """sha256 over names and bytes of all component files, hexadecimal."""
        return self.hash_of(*self.component_names)

    def hash_of(self, *names: str) -> str:
        """Return the sha256 over names and bytes of some components' files, hexadecimal."""
        digest = hashlib.sha256()
        for name in names:
            folder = self.folder(name)
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    digest.update(f"{name}/{file.relative_to(folder).as_posix()}\0".encode())
                    with file.open("rb") as stream:
                        digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    @property
    def bytes_on_disk(self) -> int:
        """Size of all component files."""
        files = (f for name in self.component_names for f in self.folder(name).rglob("*"))
        return sum(file.stat().st_size for file in files if file.is_file())

    @property
    def bytes_in_memory(self) -> int:
        """Size of all weights once loaded, in float32; work space comes on top.

        Raises:
            WeightsError: see ``check``.
        """
        return 4 * sum(map(self.num_parameters, self.component_names))

    def num_parameters(self, name: str) -> int:
        """Count a component's weights from the headers of its files; none for a tokenizer.

        Raises:
            WeightsError: see ``check``.
        """
        if not self._has_weights(name):
            return 0
        return sum(num_elements(file) for file in self.check(name))

    def demand(self, size: Size, frames: int, *, without: frozenset[str] = frozenset()) -> Demand:
        """Estimate the memory that drawing with it takes.

        Args:
            size: of the pictures.
            frames: 1 for a picture.
            without: components that are not loaded for it.

        Raises:
            WeightsError: see ``check``.
        """
        from fdream.models.memory_demand import WeightCount, demand_of

        held = [n for n in self.component_names if n not in without and self._has_weights(n)]
        counts = [WeightCount.of(self.check(name)) for name in held]

        def config(name: str) -> dict[str, Any]:
            return self.config(name) if self.has(name) and self._has_weights(name) else {}

        return demand_of(counts, config, size, frames)

    def words(self, tokenizer: str) -> list[str] | None:
        """Return every word a tokenizer knows; None where it cuts words into pieces, or is absent.

        Raises:
            WeightsError: its file is damaged.
        """
        if not self.has(tokenizer) or not (self.folder(tokenizer) / "tokenizer.json").is_file():
            return None
        table = json_object(self.folder(tokenizer) / "tokenizer.json", self._place(tokenizer))
        model = table.get("model")
        if not isinstance(model, dict) or model.get("type") != "WordLevel":
            return None
        vocabulary, added = model.get("vocab"), table.get("added_tokens")
        known = vocabulary if isinstance(vocabulary, dict) else {}
        marks = {t.get("content") for t in added if isinstance(t, dict)} if added else set()
        return sorted(set(known) - marks)

    def check(self, name: str) -> list[Path]:
        """Look at a component's files before any library opens them.

        Returns:
            Its weight files, safetensors; none for a tokenizer or a schedule.

        Raises:
            WeightsError: the folder, its configuration or its weights are missing or damaged, or
                the weights are pickled.
        """
        folder, place = self.folder(name), self._place(name)
        if not folder.is_dir():
            raise WeightsError(f"{place} has no folder {name}/; fetch or train the bundle again.")
        if not self._has_weights(name):
            return []
        json_object(folder / "config.json", place)
        return weight_files(folder, place)

    def _has_weights(self, name: str) -> bool:
        return self.class_of(name) not in _TOKENIZERS | {_SCHEDULE}

    def _place(self, name: str) -> str:
        return f"bundle {self.path.name!r}: {name}"


def _check_index(index: Mapping[str, Any], place: str) -> None:
    table = index.get("fdream")
    schema = table.get("schema") if isinstance(table, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise WeightsError(
            f"bundle {place!r}: {INDEX_NAME} has no fdream.schema, so it is not one of ours; give "
            "a bundle folder or a run folder of `fdream train`."
        )
    if schema > SCHEMA:
        raise WeightsError(
            f"bundle {place!r}: schema {schema}, and this fdream reads up to {SCHEMA}; update with "
            "pip install -U fdream."
        )
    elsewhere = table.get("elsewhere", {}) if isinstance(table, dict) else {}
    if not isinstance(elsewhere, dict) or not all(map(_is_place, elsewhere.values())):
        raise WeightsError(
            f"bundle {place!r}: {INDEX_NAME} gives fdream.elsewhere as {str(elsewhere)[:80]}, not "
            "as [model, subfolder] for each component; fetch it again."
        )
    for name, value in index.items():
        if not isinstance(value, list):
            continue
        # Names become folders to read and to copy: one that climbs out would reach any file.
        if not _COMPONENT_NAME.fullmatch(name):
            raise WeightsError(
                f"bundle {place!r}: {INDEX_NAME} names a component {name!r}, which is no plain "
                "folder name; fetch it again from where you trust it."
            )
        if len(value) != 2 or not all(isinstance(part, str) for part in value):
            raise WeightsError(
                f"bundle {place!r}: {INDEX_NAME} gives {name!r} as {str(value)[:80]}, not as "
                "[library, class]; fetch it again."
            )


def _is_place(value: object) -> bool:
    """Whether a value is [model, subfolder], the subfolder a plain name or nothing."""
    if not isinstance(value, list) or [type(part) for part in value] != [str, str]:
        return False
    return not value[1] or _COMPONENT_NAME.fullmatch(value[1]) is not None


def _short_text(value: object) -> str | None:
    usable = isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_NAME
    return str(value) if usable and value else None
