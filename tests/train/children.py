"""Training runs in child processes, forked from one that has imported everything."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from petrt.train.config import TrainConfig
from petrt.train.fit import fit

# What a run imports on its way; children are forked from a process that has it all.
PRELOADED = [__name__, "torch.utils.tensorboard", "skimage.metrics"]
TIMEOUT_S = 300


class Child:
    """``call(*arguments)`` in a process of its own, on one thread, with these environment variables."""

    def __init__(self, call: Callable[..., object], *arguments: Any, **environment: str) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.process = context.Process(target=_begin, args=(environment, call, arguments))
        self.process.start()

    def wait(self) -> int | None:
        """The exit code; minus the signal that killed it."""
        self.process.join(TIMEOUT_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise TimeoutError
        return self.process.exitcode


def _begin(environment: dict[str, str], call: Callable[..., object], arguments: Any) -> None:
    warnings.simplefilter("error")
    os.environ.update(environment)
    if not torch.accelerator.is_available():  # then no one has to say so
        os.environ.pop("ACCELERATE_USE_CPU", None)
    torch.set_num_threads(1)
    call(*arguments)


def together(count: int, call: Callable[..., object], *arguments: Any) -> list[int | None]:
    """``call`` in ``count`` processes that know of each other as a launcher tells them; exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [
        Child(call, *arguments, **common, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in range(count)
    ]
    return [child.wait() for child in children]


def fit_and_kill(settings: TrainConfig, data: Path, out: Path, resume: bool, moment: str) -> None:
    """``fit`` that kills itself (SIGKILL) at ``moment``: "os.fsync:3", before the third such call."""
    place, count = moment.split(":")
    owner_name, name = place.split(".")
    owner: Any = {"os": os, "Path": Path}[owner_name]
    original, calls = getattr(owner, name), itertools.count(1)

    def replacement(*arguments: Any, **options: Any) -> Any:
        if next(calls) == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, replacement)
    fit(settings, data, out, resume=resume)
