"""Errors of the system (OSError) as one line that says what and why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from petrt.errors import DeviceError, InputError, first_line
from petrt.files.names import shown


def reason_of(error: OSError) -> str:
    """The system's words, such as "Stale file handle"."""
    return error.strerror or first_line(error)


def refusal(error: OSError) -> DeviceError:
    """An OSError that nothing expected, with the file's name where there is one."""
    where = f"{shown(os.fsdecode(error.filename))}: " if _named(error) else ""
    return DeviceError(
        f"{where}the system refuses: {reason_of(error)}", "check the file system, then run it again"
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError into InputError: ``path``, or the file in it that the error names."""
    try:
        yield
    except OSError as error:
        name = os.fsdecode(error.filename) if _named(error) else path
        raise InputError(
            f"{shown(name)}: cannot be read: {reason_of(error)}",
            "check its path and permissions, and the file system",
        ) from error


def _named(error: OSError) -> bool:
    return isinstance(error.filename, str | bytes)
