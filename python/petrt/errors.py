"""Errors a user can cause. Each carries one line (what and why), a hint (what to do) and an exit code.

Exit codes of every command: 0 ok, 2 usage, 3 input, 4 device or engine, 5 some cases failed,
6 training collapsed.
"""

from __future__ import annotations


class PetrtError(Exception):
    """Base of all errors petrt raises on purpose: ``message`` says what and why, ``hint`` what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class UsageError(PetrtError):
    """A command or call that contradicts itself: an unknown option value, an output that exists."""

    exit_code = 2


class InputError(PetrtError, ValueError):
    """A volume, bundle, checkpoint or table that cannot be used as it is."""

    exit_code = 3


class DeviceError(PetrtError, RuntimeError):
    """A device or engine that is absent, refuses the model, or fails while running it."""

    exit_code = 4


class OutOfDeviceMemory(DeviceError):
    """An engine that does not get the GPU memory it needs for this batch; a smaller one may do."""


class NonfiniteOutput(DeviceError):
    """NaN or infinity in a result: ``count`` voxels. The model or its engine is broken."""

    def __init__(self, message: str, hint: str, count: int) -> None:
        super().__init__(message, hint)
        self.count = count


class PartialFailure(PetrtError):
    """A batch in which some cases failed and the others are done."""

    exit_code = 5


class TrainingCollapsed(PetrtError):
    """A training run that no longer learns: the reason, and what to change."""

    exit_code = 6


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
