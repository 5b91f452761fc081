"""Folders that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from petrt.errors import UsageError
from petrt.files.atomic import hand_over
from petrt.files.names import shown
from petrt.files.outputs import explained
from petrt.files.scratch import sync, sync_folder
from petrt.files.stale import Hold, scratch_path

# A file that an old folder holds, or a test of the folder: shows that it is of the same kind.
Kind = str | Callable[[Path], bool] | None


@contextmanager
def atomic_folder(path: Path, *, replaces: Kind = None, into_empty: bool = False) -> Iterator[Path]:
    """A new folder to fill. It becomes ``path`` if the block ends without an exception.

    An existing folder is replaced only if ``replaces``, the name of a file in it or a function of the folder,
    shows that it is of the same kind, and only at the end of the block; with ``into_empty`` also an empty
    one. Anything else at ``path``, or a parent that cannot be written, raises UsageError. Missing parents
    are created. Inside ``together`` the folder gets its name at the end of that block.
    """
    check_folder(path, replaces=replaces, into_empty=into_empty)
    with explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UsageError(
                f"{shown(path)}: cannot write: its folder is a file", "choose another output path"
            ) from error
        staging = scratch_path(path.parent)
        staging.mkdir(mode=0o700)
        folder = _Folder(staging, path, replaces, into_empty, Hold(staging))
        try:
            folder.made.mkdir()
            yield folder.made
            for each in folder.made.rglob("*"):
                _sync(each)
            sync_folder(folder.made)
            _open_up(folder.made)
            hand_over(folder)
        except BaseException:
            folder.discard()
            raise


@dataclass(frozen=True)
class _Folder:
    """A filled folder ``staging/new``, and the name that it gets."""

    staging: Path
    target: Path
    replaces: Kind
    into_empty: bool
    hold: Hold

    @property
    def made(self) -> Path:
        return self.staging / "new"

    @property
    def old(self) -> Path:
        """Holds the target's name, so that a later run can give it back (petrt.files.stale)."""
        return self.staging / "old" / self.target.name

    def publish(self, alone: bool) -> None:
        # Another process may have written it meanwhile.
        check_folder(self.target, replaces=self.replaces, into_empty=self.into_empty)
        try:
            if self.target.exists():
                self.old.parent.mkdir(exist_ok=True)
                self.target.rename(self.old)
            self.made.rename(self.target)
        except BaseException:
            self.take_back()  # interrupted between the two renames
            raise

    def take_back(self) -> None:
        with suppress(OSError):
            if not self.made.exists() and self.target.exists():
                self.target.rename(self.made)
            if self.old.exists() and not self.target.exists():
                self.old.rename(self.target)

    def settle(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)
        self.hold.release()

    def discard(self) -> None:
        self.settle()


def check_folder(path: Path, *, replaces: Kind = None, into_empty: bool = False) -> None:
    """Raise UsageError if ``atomic_folder`` would refuse to replace ``path``."""
    if not os.path.lexists(path):
        return
    if callable(replaces):
        same = path.is_dir() and not path.is_symlink() and replaces(path)
    else:
        same = bool(replaces) and (path / str(replaces)).is_file()
    if not (same or (into_empty and _is_empty(path))):
        raise UsageError(f"{shown(path)} exists", "choose another folder")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


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
