"""Errors that a user can cause. Each has one line (what and why), a hint (what to do) and an exit code.

Exit codes of every command: 0 ok, 1 a fault of petrt, 2 usage, 3 input, 4 device, engine or system, 5 some
cases failed, 6 training collapsed, 130 Ctrl-C, 141 closed stdout, 143 SIGTERM. docs/faults.md lists faults
and their codes.
"""

from __future__ import annotations

from collections.abc import Iterable


class PetrtError(Exception):
    """Base of all errors that petrt raises. ``message`` says what and why, ``hint`` what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross processes, whatever arguments their class takes: a pool whose worker raises one that
        cannot be read back waits for ever."""
        return _rebuilt, (type(self), self.args), self.__dict__


def _rebuilt(kind: type[PetrtError], arguments: tuple[object, ...]) -> PetrtError:
    """An error as it was raised, but for its attributes; no ``__init__`` runs again."""
    return kind.__new__(kind, *arguments)


class UsageError(PetrtError):
    """A command or call that is wrong in itself: an unknown option value, an output that exists."""

    exit_code = 2


class InputError(PetrtError, ValueError):
    """A volume, bundle, checkpoint or table that is damaged or unsuitable."""

    exit_code = 3


class ActivityChanged(InputError):
    """A reconstruction that changes the total activity so much that it is wrong, by its own numbers."""


class DeviceError(PetrtError, RuntimeError):
    """A device or engine that is absent, refuses the model, or fails while running it."""

    exit_code = 4


class OutOfDeviceMemory(DeviceError):
    """An engine does not get the GPU memory for this batch. A smaller batch may fit."""


class NonfiniteOutput(DeviceError):
    """A result holds ``count`` NaN or infinite voxels. The model or its engine is broken."""

    def __init__(self, message: str, hint: str, count: int) -> None:
        super().__init__(message, hint)
        self.count = count


class PartialFailure(PetrtError):
    """Some cases of a run failed; the others are done."""

    exit_code = 5


class TrainingCollapsed(PetrtError):
    """A training run no longer learns. The message gives the reason, the hint what to change."""

    exit_code = 6


class DomainWarning(UserWarning):
    """A volume is unlike those that the model was trained on, or its noise is not that of the given dose."""


class AssumedGrid(UserWarning):
    """An array came without ``affine`` and ``voxel_mm``, and is taken to lie on the model's grid."""


# Options of the command that runs; None in Python.
_options: frozenset[str] | None = None


def speak_of(options: Iterable[str] | None) -> None:
    """Hints name these ``options`` of the command that runs from now on; keywords of Python for None."""
    global _options
    _options = None if options is None else frozenset(options)


def spoken() -> frozenset[str] | None:
    """What ``speak_of`` was told last, for another process of the same command."""
    return _options


def way(option: str, value: str, effect: str, otherwise: str = "") -> str:
    """A hint in the caller's words: ``--nonfinite zero`` or ``nonfinite='zero'``, then its ``effect``.

    ``value`` is "" for a flag. ``otherwise`` is the hint in a command that has no such option.
    """
    if _options is None:
        keyword = "True" if not value else value if value.isnumeric() else repr(value)
        return f"{option}={keyword} {effect}"
    if option not in _options:
        return otherwise
    return " ".join(filter(None, (f"--{option.replace('_', '-')}", value, effect)))


def called(option: str) -> str:
    """The name of an option as the caller writes it: ``--dose`` in a command that has it, else ``dose``."""
    if _options is None or option not in _options:
        return option
    return f"--{option.replace('_', '-')}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its class if the text is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
