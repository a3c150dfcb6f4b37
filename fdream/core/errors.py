"""What can go wrong, and the exit code of each.

FdreamError
|-- CheckFailed         1   a check answered no (replay differs, conformance failed)
|-- UsageError          2   the command line asks for something impossible
|   |-- RecipeError         a recipe, or a --set on it
|   `-- SettingsError       settings of this machine
|-- StageError          3   a stage cannot be found, built or used
|   |-- PluginError         the distribution that declares it is at fault
|   `-- WeightsError        a bundle or checkpoint is missing, damaged or unfit
|       `-- UnconvertedError    one is whole, and not yet in the form that is read
|-- DataError           4   input data
|-- DeviceError         5   the device, or its memory
`-- OutputError         6   a result cannot be written

A message is a small letter to the user: the place, the value, the rule, the next step.
Anything else that escapes is our bug and exits with 70.
"""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_BUG: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE_CLOSED: Final = 141
EXIT_TERMINATED: Final = 143


class FdreamError(Exception):
    """A fault that the user can act on; the message says how."""

    exit_code: ClassVar[int] = 2


class CheckFailed(FdreamError):
    """A check ran to its end and answered no."""

    exit_code = 1


class UsageError(FdreamError):
    """The command asks for something impossible or contradictory."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe, or a change to it on the command line, is not valid."""


class SettingsError(UsageError):
    """The settings of this machine are not valid."""


class StageError(FdreamError):
    """A stage cannot be found, built or used in this way."""

    exit_code = 3


class PluginError(StageError):
    """A plugin is broken; the message names its distribution."""


class WeightsError(StageError):
    """Weights are missing, damaged, or made for another model."""


class UnconvertedError(WeightsError):
    """A question met a checkpoint that a run would first convert."""


class DataError(FdreamError):
    """Input data cannot be read or is not what it should be."""

    exit_code = 4


class DeviceError(FdreamError):
    """The device is missing, unfit or out of memory."""

    exit_code = 5


class OutputError(FdreamError):
    """A result cannot be written."""

    exit_code = 6
