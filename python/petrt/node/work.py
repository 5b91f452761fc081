"""The node's work: series that are complete are reconstructed, sent and put away, one after the other."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from petrt.errors import PetrtError
from petrt.files.names import printable
from petrt.node.names import logged_without, without
from petrt.node.queue import Case, Queue
from petrt.node.target import NotSent, Target

logger = logging.getLogger("petrt")

# Derives a series from the one in the first folder, and writes it as the second folder, whole or not at all.
Derive = Callable[[Path, Path], None]
LONGEST_PAUSE_S = 300.0
_TICK_S = 0.1


class Stopped(PetrtError):
    """A signal stopped the node. Exit code 128 + signal: 143 or 130."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the queue is kept")
        self.exit_code = 128 + number


class _Signal(BaseException):
    """A signal, on its way out of whatever is being done; no handler of errors takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Node:
    """Works off a queue.

    ``quiet`` and ``patience``: seconds, see ``Queue.settle``. ``attempts``: how often a series is sent before
    it counts as failed; ``pause``: seconds after the first of them, then twice as long each time.
    ``settings``: what decides the values of derived series, for the records. ``poll`` looks for new series
    each ``poll_seconds``; it raises nothing.
    """

    queue: Queue
    derive: Derive
    target: Target
    settings: str = ""
    quiet: float = 30.0
    patience: float = 600.0
    attempts: int = 20
    pause: float = 1.0
    keep: bool = False
    poll: Callable[[], None] | None = None
    poll_seconds: float = 60.0
    failures: int = 0
    _later: dict[str, tuple[int, float]] = field(default_factory=dict)  # attempts so far, and when

    def run(self, *, once: bool) -> None:
        """Work until a signal comes, or with ``once`` until the queue is empty.

        A signal parks what is being done: its series is done again by the next run. Raises Stopped.
        """
        next_poll = time.monotonic()
        try:
            with _signals():
                while True:
                    if self.poll is not None and time.monotonic() >= next_poll:
                        self.poll()
                        next_poll = time.monotonic() + self.poll_seconds
                    if not self.step():
                        if once and self.queue.is_empty():
                            return
                        time.sleep(_TICK_S)
        except _Signal as stop:
            raise Stopped(stop.number) from None

    def step(self) -> bool:
        """Move series on that have become complete, and work on one; whether there was one."""
        for case, reason in self.queue.settle(self.quiet, self.patience):
            if reason:
                logger.warning(
                    "%s: kept aside as incomplete: %s",
                    case.label,
                    reason,
                    extra=_of(case, "incomplete"),
                )
            else:
                logger.info("%s: complete", case.label, extra=_of(case, "complete"))
        now = time.monotonic()
        due = [
            each for each in self.queue.cases() if self._later.get(each.name, (0, now))[1] <= now
        ]
        if due:
            self._work(due[0])
        return bool(due)

    def _work(self, case: Case) -> None:
        try:
            if not case.is_sent:
                if not case.derived.exists():
                    self._reconstruct(case)
                files = sorted(case.derived.iterdir())
                self.target.send(files)
                case.mark_sent()
                logger.info("%s: sent, %d objects", case.label, len(files), extra=_of(case, "sent"))
            record = {
                "objects": sum(1 for _ in case.objects.glob("*.dcm")),
                "settings": self.settings,
                "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            }
            self.queue.finish(case, record, keep=self.keep)
            self._later.pop(case.name, None)
        except NotSent as error:
            self._again(case, error)
        except PetrtError as error:
            self._fail(case, str(error))
        except (
            Exception
        ) as error:  # a fault ends one case, not the node; its text may name a patient
            self._fail(case, f"a fault of petrt: {type(error).__name__}")
            logger.debug("a fault", exc_info=True)

    def _reconstruct(self, case: Case) -> None:
        uid = case.uid()
        try:
            with logged_without(uid, case.name):
                self.derive(case.objects, case.derived)
        except PetrtError as error:
            error.args = (without(str(error), uid, case.name),)
            raise
        self.queue.measure()

    def _again(self, case: Case, error: NotSent) -> None:
        count = self._later.get(case.name, (0, 0.0))[0] + 1
        if not error.again or count >= self.attempts:
            self._fail(case, f"{error.reason}, attempt {count}")
            return
        pause = min(LONGEST_PAUSE_S, self.pause * 2 ** (count - 1))
        self._later[case.name] = count, time.monotonic() + pause
        text = "%s: not sent: %s; again in %.0f s"
        logger.warning(text, case.label, error.reason, pause, extra=_of(case, "not sent"))

    def _fail(self, case: Case, reason: str) -> None:
        line = printable(" ".join(reason.split()))
        self._later.pop(case.name, None)
        self.failures += 1
        self.queue.fail(case, line)
        logger.error("failed: %s: %s", case.label, line, extra=_of(case, "failed"))


def _of(case: Case, event: str) -> dict[str, str]:
    """What a log line as JSON says beside its text."""
    return {"event": event, "case": case.label}


@contextmanager
def _signals() -> Iterator[None]:
    """The first SIGTERM or SIGINT raises _Signal in the main thread; the next one ends the process."""
    before: dict[signal.Signals, Any] = {}

    def stop(number: int, _: FrameType | None) -> NoReturn:
        restore()
        raise _Signal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        before.clear()

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.getsignal(number)
    try:
        for number in list(before):
            signal.signal(number, stop)
        yield
    finally:
        restore()
