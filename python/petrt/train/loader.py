"""Loads batches in worker processes, and says in one line what is wrong with them.

Workers are watched while a batch is waited for: signals, the room in /dev/shm, a worker that was killed.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from petrt.data.dataset import Dataset
from petrt.errors import DeviceError, PetrtError, first_line
from petrt.files.system import refusal
from petrt.hardware.processes import SHARED, amount, shared_memory, starting_workers
from petrt.train.config import TrainConfig
from petrt.train.data import Batch, Slices

# Batches that each worker holds ready.
AHEAD = 2
# Seconds between two looks at signals and shared memory while a worker's batch is waited for; of the first
# look at shared memory; and until the workers are given up.
POLL_S, LOOK_S, LOADER_S = 1, 5.0, 300.0
SIGNAL_S = 1.0  # from a broken connection to a worker until the signal of its death
WITHOUT = "--workers 0 loads in the training process"


def loader(
    dataset: Dataset,
    ids: Sequence[str],
    config: TrainConfig,
    *,
    first_step: int,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterable[Batch]:
    """Batches of steps ``first_step``, ``first_step + 1``, ... without end, or until ``stopped``.

    Process ``rank`` of ``world`` gets its B / world consecutive items of each batch of B. Loading uses
    ``config.data.workers`` processes of one thread each. Raises the errors of ``check`` first, and
    DeviceError where workers cannot be started, have too little shared memory, or give no batch.
    """
    workers = config.data.workers
    slices = Slices(dataset, ids, config, rank, world)
    if workers:
        _check_shared_memory(slices, workers)
    batches = _Loader(
        _Reported(slices) if workers else slices,
        sampler=_StepsFrom(first_step),
        batch_size=None,  # an index gives a whole batch
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_begin_worker,
        persistent_workers=workers > 0,
        prefetch_factor=AHEAD if workers else None,
        timeout=POLL_S if workers else 0,
        generator=torch.Generator(),  # so that DataLoader does not draw from the global one
    )
    return _patient(batches, slices, stopped) if workers else batches


def _patient(
    batches: DataLoader[Batch | PetrtError], slices: Slices, stopped: Callable[[], bool]
) -> Iterator[Batch]:
    """The batches of workers, looking at ``stopped`` and at the shared memory while it waits."""
    before = set(multiprocessing.active_children())
    with starting_workers(WITHOUT):
        multiprocessing.Lock()  # DataLoader leaves a mess where this fails
        iterator = iter(batches)
    workers = set(multiprocessing.active_children()) - before
    try:
        while True:
            began = time.monotonic()
            batch: Batch | PetrtError | None = None
            while batch is None:
                try:
                    with explained_loader():
                        batch = _received(iterator)
                except _NotYet:
                    if stopped():
                        return
                    _check_progress(time.monotonic() - began, slices)
            if isinstance(batch, PetrtError):
                raise batch
            yield batch
    finally:  # DataLoader would wait for each of them, which may be stuck
        for worker in workers if hasattr(signal, "sigwaitinfo") else ():
            worker.terminate()


def _received(iterator: Iterator[Batch | PetrtError]) -> Batch | PetrtError:
    """The next batch. A worker that dies while it hands one over breaks the connection first, and its signal
    comes a moment later: DataLoader's handler raises then, in this function and not after it."""
    try:
        return next(iterator)
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        time.sleep(SIGNAL_S)
        raise RuntimeError("DataLoader worker closed its connection") from error


class _NotYet(Exception):
    """No batch within ``POLL_S``."""


@contextmanager
def explained_loader() -> Iterator[None]:
    """Turn the RuntimeErrors of DataLoader about its workers into DeviceError.

    It raises them where it waits for a batch, and for a worker that is killed wherever the main thread
    is: from a signal handler.
    """
    try:
        yield
    except RuntimeError as error:
        text = first_line(error)
        if text.startswith("DataLoader timed out"):
            raise _NotYet from None
        if text.startswith("Too many open files"):
            raise DeviceError(
                "too many open files: the loader's workers share batches through them",
                f"raise the limit with ulimit -n; {WITHOUT}",
            ) from error
        if not text.startswith("DataLoader worker"):
            raise
        room = shared_memory()
        why = f"; {SHARED} has {room}" if room else ""
        raise DeviceError(
            f"a worker of the loader was killed, for lack of memory or of shared memory{why}",
            WITHOUT,
        ) from error


def _check_shared_memory(slices: Slices, workers: int) -> None:
    """Raise DeviceError unless the batches that workers hold ready fit into /dev/shm."""
    room, needed = shared_memory(), slices.most_bytes * (AHEAD * workers + 1)
    if room is not None and room.free < needed:
        raise DeviceError(
            f"{workers} workers pass batches through {amount(needed)} of {SHARED}, which has {room}",
            f"{WITHOUT}; a container gets more with --shm-size",
        )


def _check_progress(waited: float, slices: Slices) -> None:
    """Raise DeviceError where waiting longer is of no use."""
    room = shared_memory()
    full = waited >= LOOK_S and room is not None and room.free < slices.most_bytes
    if full or waited >= LOADER_S:
        why = f"; {SHARED} has {room}" if room else ""
        raise DeviceError(f"the loader's workers gave no batch for {waited:.0f} s{why}", WITHOUT)


@dataclass(frozen=True)
class _StepsFrom:
    """Yields first, first + 1, ..., from the start in each pass."""

    first: int

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


class _Reported(TorchDataset["Batch | PetrtError"]):
    """``slices`` in a worker: an error is passed on as it is, where DataLoader would make a text of it."""

    def __init__(self, slices: Slices) -> None:
        self.slices = slices

    def __getitem__(self, step: int) -> Batch | PetrtError:
        try:
            return self.slices[step]
        except PetrtError as error:
            return error
        except OSError as error:
            return refusal(error)


class _Loader(DataLoader[Any]):
    """A DataLoader whose workers start with SIGTERM blocked in all threads. SciPy's threads start during
    the fork, before ``_begin_worker``; one that does not block the signal would end the worker."""

    def __iter__(self) -> Any:
        if not self.num_workers or not hasattr(signal, "sigwaitinfo"):
            return super().__iter__()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(_: int) -> None:
    """Let only the training process end this worker.

    A signal to all processes of a run must not stop loading, because the training process first writes
    a checkpoint. DataLoader itself sets the number of threads to one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # gives a signal's sender; not on macOS and Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, daemon=True).start()


def _end_when_told() -> None:
    """Wait until the training process ends this worker, which it does when it exits."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
        pass
    os._exit(0)
