"""Locks between processes. None waits for ever without a word.

The holder of a lock may be dead, and never release it, such as the client of a network file system that
was switched off. So each caller says how long it waits, and what it does then.
"""

from __future__ import annotations

import errno
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from petrt.errors import UsageError
from petrt.files.names import shown
from petrt.files.outputs import explained

if TYPE_CHECKING:
    from filelock import FileLock

logger = logging.getLogger("petrt")

POLL_SECONDS = 0.05
OWNER = ".lock"
# A file system without locks says one of these.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


class LockHeld(Exception):
    """Another process holds the lock. It is for the caller to say what that means."""


@contextmanager
def locked(
    path: Path,
    *,
    seconds: float | None,
    waiting: Callable[[float], None] | None = None,
    every: float = 60.0,
    mode: int = 0o600,
) -> Iterator[None]:
    """Hold the lock file ``path``, which is made with ``mode``.

    Waits at most ``seconds``, 0 for not at all, None for as long as it takes: then ``waiting`` must say
    so. It is called with the seconds waited so far, at once and again each ``every`` seconds. Raises
    LockHeld, and OSError where the file cannot be made or its file system has no locks.
    """
    from filelock import FileLock  # takes a while to import

    lock = FileLock(path, mode=mode)
    began = time.monotonic()
    patience = 0.0  # of the next attempt
    while not _acquired(lock, patience):
        waited = time.monotonic() - began
        if seconds is not None and waited >= seconds:
            raise LockHeld(str(path))
        if waiting:
            waiting(waited)
        patience = every if seconds is None else min(every, seconds - waited)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def owned(folder: Path, target: Path | None = None) -> Iterator[None]:
    """Keep other processes from writing in ``folder``, which exists, by a lock file in it.

    The lock file is deleted at the end. Raises UsageError at once if another process has it; ``target``
    is the output to name then, by default the folder. Where the file system has no locks, the log says so.
    """
    path = folder / OWNER
    busy = UsageError(
        f"{shown(target or folder)} is being written by another process",
        "wait for it, or choose another folder",
    )
    with explained(target or folder):
        path.touch()
        mine = path.stat().st_ino
    with ExitStack() as held:
        try:
            held.enter_context(locked(path, seconds=0.0, mode=0o666))
        except LockHeld:
            raise busy from None
        except OSError as error:
            if error.errno not in {*_NO_LOCKS, None}:
                with explained(target or folder):
                    raise
            logger.warning(
                "%s: no locks on this file system: nothing else must write there", shown(folder)
            )
        # Meanwhile its owner may have deleted the file or renamed the folder: then this process has
        # locked a file that the next one does not find.
        if _number(path) != mine:
            raise busy
        try:
            yield
        finally:
            _forget(path, mine)


def _forget(path: Path, mine: int) -> None:
    """Delete the lock file, unless it is another process's by now."""
    if _number(path) == mine:
        with suppress(OSError):
            path.unlink()


def _number(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _acquired(lock: FileLock, seconds: float) -> bool:
    from filelock import Timeout

    try:
        with warnings.catch_warnings():  # filelock warns where it makes do without flock
            warnings.simplefilter("ignore", UserWarning)
            lock.acquire(timeout=seconds, poll_interval=POLL_SECONDS)
    except Timeout:
        return False
    except NotImplementedError as error:  # older versions of filelock, without flock
        raise OSError(str(error)) from error
    return True
