"""What a stage says about itself before anything heavy is imported.

A plugin's entry point leads to one ``StageSpec`` in a light module (pydantic, never torch). The
registry reads it to list, check and validate; only ``factory`` names the module that does the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

StageKind = Literal["prior", "generator", "supervisor", "scheduler", "splitter", "metric"]

KINDS: Final[tuple[StageKind, ...]] = get_args(StageKind)

API: Final = 1
"""Version of the contract between fdream and a stage; a spec of another version is refused."""


class StageOptions(BaseModel):
    """The options of a stage: immutable, and an unknown key is an error.

    A stage declares a subclass. Its fields are what ``[stages.KIND.options]`` in a recipe and
    ``NAME:ARG`` on the command line may set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """The declaration of one stage.

    Attributes:
        kind: which of the six kinds it is; must agree with the entry-point group.
        name: what the user writes; must agree with the entry point's name.
        summary: one line for listings.
        options: the pydantic model of its options.
        factory: ``"package.module:Class"``, called as ``Class(options, device=device)``.
        requires: import names of what must be installed, checked without importing.
        downloads: what it fetches on first use, for people: ``"raft_large (21 MB)"``.
        licence: SPDX identifier of the code and, where they differ, of the weights.
        argument: the option that ``NAME:ARG`` sets; None when it takes no argument.
        argument_names: arguments that are names of their own; whoever writes ``ARG`` alone, or
            nearly, is told of ``NAME:ARG``.
        api: version of the contract it was written for.
    """

    kind: StageKind
    name: str
    summary: str
    factory: str
    licence: str
    options: type[StageOptions] = StageOptions
    requires: tuple[str, ...] = ()
    downloads: tuple[str, ...] = ()
    argument: str | None = None
    argument_names: tuple[str, ...] = ()
    api: int = API
