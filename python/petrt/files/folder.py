"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from petrt.errors import UsageError
from petrt.files.atomic import explained
from petrt.files.names import shown


@contextmanager
def atomic_folder(path: Path, *, replaces: str | None = None) -> Iterator[Path]:
    """A new folder to fill; it becomes ``path`` when the block ends without an exception.

    A folder already at ``path`` is replaced only where it holds a file called ``replaces``, which
    proves that it is of the same kind; anything else there, or a place where nothing can be
    written, raises UsageError. Until the very end
    the old folder stays untouched. Missing parents are made.
    """
    check_folder(path, replaces=replaces)
    with explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UsageError(
                f"{shown(path)}: cannot write: its folder is a file", "choose another output path"
            ) from error
        staging = Path(tempfile.mkdtemp(prefix=".petrt-", dir=path.parent))
        new, old = staging / "new", staging / "old"
        try:
            new.mkdir()
            yield new
            for each in (*new.iterdir(), new):
                _sync(each)
            if path.exists():
                path.rename(old)
            new.rename(path)
            _sync(path.parent)
        finally:
            if old.exists() and not path.exists():  # interrupted between the two renames
                old.rename(path)
            shutil.rmtree(staging, ignore_errors=True)


def check_folder(path: Path, *, replaces: str | None = None) -> None:
    """Refuse what atomic_folder would refuse to replace. Raises UsageError."""
    if os.path.lexists(path) and not (replaces and (path / replaces).is_file()):
        raise UsageError(f"{shown(path)} exists", "choose another folder")


def _sync(path: Path) -> None:
    """Force content to disk, so that the new name never outruns it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
