"""Worker processes: what they share memory through, and whether objects outlive a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from petrt.errors import DeviceError
from petrt.files.system import reason_of

SHARED = Path("/dev/shm")
Result = TypeVar("Result")
FORKED = "threads do not survive a fork"
SPAWN = (
    'start processes with multiprocessing.get_context("spawn"), and make a Reconstructor in each'
)


class Room(NamedTuple):
    """Bytes of shared memory: free, and in all."""

    free: int
    size: int

    def __str__(self) -> str:
        return f"{amount(self.free)} of {amount(self.size)} free"


def shared_memory() -> Room | None:
    """The room in /dev/shm; None where there is no such folder or it has no limit."""
    try:
        found = os.statvfs(SHARED)
    except (OSError, AttributeError):
        return None
    if not found.f_blocks:
        return None
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def amount(count: float) -> str:
    """Bytes as text: "64 MiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


@contextmanager
def starting_workers(hint: str) -> Iterator[None]:
    """Turn an OSError of starting worker processes into DeviceError with this ``hint``."""
    try:
        yield
    except OSError as error:
        room = shared_memory()
        place = f" (they need {SHARED}{'' if room is None else f', which has {room}'})"
        raise DeviceError(
            f"worker processes cannot be started: {reason_of(error)}{place}", hint
        ) from error


def in_workers(
    call: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], workers: int
) -> Iterator[Result]:
    """``call(*each)`` for each of ``arguments`` in new processes; results in the order they finish.

    With one worker or one call it runs here. Raises what ``call`` raises, and DeviceError if processes
    cannot be started or are killed.
    """
    if workers == 1 or len(arguments) == 1:
        for each in arguments:
            yield call(*each)
        return
    hint = "use --workers 1"
    with starting_workers(hint):
        pool = ProcessPoolExecutor(
            min(workers, len(arguments)), get_context("spawn"), initializer=_end_with_parent
        )
    try:
        with starting_workers(hint), _all_or_none():
            waiting = [pool.submit(call, *each) for each in arguments]
        for future in as_completed(waiting):
            yield future.result()
    except BrokenProcessPool as error:
        raise DeviceError(
            "a worker process was killed, probably for lack of memory", "use fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _all_or_none() -> Iterator[None]:
    """End the processes that were started if one cannot be: nobody would end them later."""
    before = {child.pid for child in active_children()}
    try:
        yield
    except OSError:
        for child in active_children():
            if child.pid not in before:
                child.terminate()
        raise


def _end_with_parent() -> None:
    """End this worker when its parent has ended, also where that was killed."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


class Home:
    """The process in which an object was made.

    Threads do not survive a fork, so an object that has threads, locks or a GPU waits for ever in a
    forked process.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    @property
    def here(self) -> bool:
        """Whether this is that process."""
        return os.getpid() == self._process

    def check(self, what: str) -> None:
        """Raise DeviceError in another process."""
        if not self.here:
            raise DeviceError(f"{what} was made in another process: {FORKED}", SPAWN)


# Package -> the process that used it first: its threads serve all engines of a process.
_first_used: dict[str, Home] = {}


def check_package(name: str) -> None:
    """Raise DeviceError where a forked process uses the package ``name`` after its parent has."""
    if not _first_used.setdefault(name, Home()).here:
        raise DeviceError(f"{name} was used before this process was forked: {FORKED}", SPAWN)
