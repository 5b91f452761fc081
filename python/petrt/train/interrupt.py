"""Handles SIGTERM and SIGINT: training finishes the step and writes a checkpoint, then stops."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

from petrt.errors import PetrtError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator, self.signal = accelerator, 0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def agreed(self) -> int:
        """The signal that any process got, or 0. It is the same in all processes, so all stop at the
        same step. Call it once per step in each process."""
        if self.accelerator.num_processes == 1:
            return self.signal
        mine = torch.tensor([self.signal], device=self.accelerator.device)
        return int(self.accelerator.gather(mine).max())

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        if self.accelerator.num_processes == 1:
            self.__exit__()
