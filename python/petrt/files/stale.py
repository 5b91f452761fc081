"""Scratch files and staging folders that a killed process left behind: a later run removes them.

The process that makes one holds a lock (flock) on it until it has its name or is gone. The system ends the
lock of a process that was killed. Removed is what has no lock, belongs to this user and is older than a
minute, since the lock comes a moment after the name. Another machine's lock may not show on a network file
system, so that the names hold a mark of the running system, and only its own are looked at.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: no lock, and nothing is removed
    fcntl = None  # type: ignore[assignment]

FRESH_SECONDS = 60.0
BOOT = Path("/proc/sys/kernel/random/boot_id")
_swept: set[tuple[int, int]] = set()


def scratch_path(folder: Path, end: str = "") -> Path:
    """A new name in ``folder``, independent of the target's, which may have the maximum length already."""
    return folder / f".petrt-{_mark()}-{secrets.token_hex(8)}{end}"


class Hold:
    """Shows other processes that the file or folder ``path`` is in use, where the file system has locks."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        if fcntl is not None:
            with suppress(OSError):
                self._descriptor = os.open(path, os.O_RDONLY)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in ``folder``, once a process. A folder that a kill kept from being
    replaced gets its name back. Whatever cannot be removed is no error."""
    if fcntl is None or not BOOT.exists():
        return
    with suppress(OSError):
        found = os.stat(folder)
        if (found.st_dev, found.st_ino) in _swept:
            return
        _swept.add((found.st_dev, found.st_ino))
        ours = re.compile(rf"\.petrt-{_mark()}-[0-9a-f]{{16}}(\.tmp)?")
        for name in os.listdir(folder):
            if ours.fullmatch(name):
                _remove_if_stale(folder / name)


def _remove_if_stale(path: Path) -> None:
    with suppress(OSError):  # it is held, or gone by now
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid() or time.time() - found.st_ctime < FRESH_SECONDS:
                return
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISDIR(found.st_mode):
                _give_back(path)
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            os.close(descriptor)


def _give_back(staging: Path) -> None:
    """The folder of a target that was to be replaced, if the new one did not come."""
    for old in (staging / "old").glob("*"):
        target = staging.parent / old.name
        if not os.path.lexists(target):
            old.rename(target)


@cache
def _mark() -> str:
    """Of the running system; another one after it was started again."""
    try:
        text = BOOT.read_bytes()
    except OSError:
        text = b""
    return hashlib.sha256(text).hexdigest()[:8]
