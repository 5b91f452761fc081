"""Locks between processes. None waits for ever without a word.

The holder of a lock may be dead, and never release it, such as the client of a network file system that
was switched off. So each caller says how long it waits, and what it does then.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

POLL_SECONDS = 0.05


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


def _acquired(lock: FileLock, seconds: float) -> bool:
    try:
        with warnings.catch_warnings():  # filelock warns where it makes do without flock
            warnings.simplefilter("ignore", UserWarning)
            lock.acquire(timeout=seconds, poll_interval=POLL_SECONDS)
    except Timeout:
        return False
    except NotImplementedError as error:  # older versions of filelock, without flock
        raise OSError(str(error)) from error
    return True
