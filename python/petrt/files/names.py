"""File names as text that is safe in messages, logs and reports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

LONGEST = 120
# A volume's path, and the name it is shown by instead of its file name.
_alias: ContextVar[tuple[Path, str] | None] = ContextVar("petrt_alias", default=None)


def printable(text: str) -> str:
    """``text`` on one line: what is not printable, line ends among it, is escaped.

    Every text from outside goes through this, or ``shown``, on its way to a log, a table or a terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def shown(path: str | os.PathLike[str]) -> str:
    """The last part of ``path``, printable on one line.

    Control characters, line ends, text-direction marks and undecodable bytes are escaped. A name over
    120 characters is cut in the middle. Folders are left out, because they may be named after patients.
    Within ``shown_as`` a file has the name given there.
    """
    if (alias := _alias.get()) is not None and _of_one_volume(Path(path), alias[0]):
        return alias[1]
    safe = printable(Path(path).name or str(path))
    if len(safe) <= LONGEST:
        return safe
    half = (LONGEST - 1) // 2
    return f"{safe[:half]}…{safe[-half:]}"


@contextmanager
def shown_as(path: Path, name: str) -> Iterator[None]:
    """Within the block, ``shown`` says ``name`` for ``path`` and the files beside it of the same volume.

    So neither errors nor log lines hold a file name, which may name a patient.
    """
    before = _alias.set((path, name))
    try:
        yield
    finally:
        _alias.reset(before)


def _of_one_volume(path: Path, volume: Path) -> bool:
    """Whether ``path`` is ``volume``, or its header, voxels or sidecar beside it."""
    stem = volume.name.partition(".")[0]
    return path.parent == volume.parent and path.name.partition(".")[0] == stem
