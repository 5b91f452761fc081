"""Folders that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from petrt.errors import UsageError
from petrt.files.atomic import explained, sync, sync_folder
from petrt.files.names import shown


@contextmanager
def atomic_folder(path: Path, *, replaces: str | None = None) -> Iterator[Path]:
    """A new folder to fill. It becomes ``path`` if the block ends without an exception.

    An existing folder is replaced only if it holds a file named ``replaces``, which shows that it is
    of the same kind, and only at the end of the block. Anything else at ``path``, or a parent that
    cannot be written, raises UsageError. Missing parents are created.
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
            for each in new.rglob("*"):
                _sync(each)
            sync_folder(new)
            _open_up(new)
            check_folder(path, replaces=replaces)  # another process may have written it meanwhile
            if path.exists():
                path.rename(old)
            new.rename(path)
            sync_folder(path.parent)
        finally:
            if old.exists() and not path.exists():  # interrupted between the two renames
                old.rename(path)
            shutil.rmtree(staging, ignore_errors=True)


def check_folder(path: Path, *, replaces: str | None = None) -> None:
    """Raise UsageError if ``atomic_folder`` would refuse to replace ``path``."""
    if os.path.lexists(path) and not (replaces and (path / replaces).is_file()):
        raise UsageError(f"{shown(path)} exists", "choose another folder")


def _open_up(folder: Path) -> None:
    """Give all that is in ``folder`` the modes that the umask gives new files.

    Some writers make their files with mode 0600, so that a folder would be readable for others in part.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)  # made by mkdir, so the umask's
    for each in folder.rglob("*"):
        if not each.is_symlink():
            each.chmod(mode if each.is_dir() else mode & 0o666)


def _sync(path: Path) -> None:
    """Flush the content to disk before the folder gets its name."""
    if path.is_dir():
        sync_folder(path)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
