"""Handles SIGTERM and SIGINT: training finishes the step and writes a checkpoint, then stops."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

from petrt.errors import PetrtError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds from SIGTERM to the end of a process that does not come to its checkpoint, and that does not
# finish writing it.
STEP_S, SAVE_S = 8.0, 60.0

logger = logging.getLogger(__name__)


class TrainingStopped(PetrtError):
    """A signal stopped a run after it wrote a checkpoint. Exit code 128 + signal: 143 or 130."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}; its checkpoint is written",
            "continue with --resume",
        )
        self.exit_code = 128 + number


class Interrupt:
    """Records the first of the two signals, inside the context, instead of ending the process.

    With a single process the next signal ends it at once; the run can still be resumed. With several
    processes, each may get a signal twice, from the terminal and from the launcher, so all signals are
    only recorded. Outside the main thread nothing changes.

    SIGTERM is obeyed in every state: a process that does not come to its checkpoint within ``STEP_S``,
    because a step, a file system or another process does not let it, is ended without one.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator, self.signal = accelerator, 0
        self._previous: dict[signal.Signals, Any] = {}
        self._guard: _Guard | None = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._guard = _Guard.start()
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        if self._guard is not None:
            self._guard.stop()
            self._guard = None

    @property
    def alone(self) -> bool:
        """Whether this process may stop without asking others."""
        return self.accelerator.num_processes == 1

    def stopped(self) -> bool:
        """Whether to give up what is being waited for or measured: a signal came, and nobody else is
        to be asked."""
        return self.alone and self.signal != 0

    def agreed(self) -> int:
        """The signal that any process got, or 0. It is the same in all processes, so all stop at the
        same step. Call it once per step in each process."""
        if self.alone:
            return self.signal
        mine = torch.tensor([self.signal], device=self.accelerator.device)
        return int(self.accelerator.gather(mine).max())

    @contextmanager
    def saving(self) -> Iterator[None]:
        """A block that may take longer after SIGTERM, because it writes a checkpoint."""
        if self._guard is not None:
            self._guard.seconds = SAVE_S
        try:
            yield
        finally:
            if self._guard is not None:
                self._guard.seconds = STEP_S

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        if self.alone:
            self._restore()


class _Guard:
    """A thread that ends the process some ``seconds`` after SIGTERM.

    Python runs a signal's handler only between two steps of the main thread's own code, which may be
    minutes away. So the thread reads the signal's number from a socket, to which Python writes at once.
    """

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.seconds = STEP_S
        self._ours, self._theirs, self._done = ours, theirs, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @classmethod
    def start(cls) -> _Guard | None:
        """A running guard, in the main thread; None where something else listens for signals."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)
            ours.close()
            theirs.close()
            return None
        guard = cls(ours, theirs)
        guard._thread.start()
        return guard

    def stop(self) -> None:
        """The process ends in the usual way from here on."""
        self._done.set()
        signal.set_wakeup_fd(-1)
        with suppress(OSError):
            self._theirs.send(b"\0")  # wakes the thread
        self._thread.join()
        self._ours.close()
        self._theirs.close()

    def _watch(self) -> None:
        while signal.SIGTERM not in self._ours.recv(64):
            if self._done.is_set():
                return
        began = time.monotonic()
        while time.monotonic() - began < self.seconds:
            if self._done.wait(0.1):
                return
        logger.error(
            "stopped by SIGTERM: no checkpoint could be written within %.0f s; continue from an earlier"
            " one with --resume",
            self.seconds,
        )
        os._exit(128 + signal.SIGTERM)
