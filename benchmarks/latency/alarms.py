"""A limit on a section: first an exception, then, for what hangs in a library, the end of the process."""

from __future__ import annotations

import faulthandler
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager

GRACE = 10.0  # seconds from the exception to the end of the process


class TooLong(BaseException):
    """A section took longer than it may. No Exception: what falls back on any of those must not on this."""


@contextmanager
def alarm(seconds: float, grace: float = GRACE) -> Iterator[None]:
    """Raise TooLong in the block after ``seconds``; ``grace`` later end the process with exit code 1.

    Python cannot interrupt a call that hangs inside CUDA. faulthandler's own thread needs no
    interpreter: it writes where every thread stands and ends the process. For the main thread alone.
    """
    if math.isinf(seconds):
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise TooLong(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        faulthandler.dump_traceback_later(seconds + grace, exit=True)
        # Again within the grace: Python drops an exception that meets it inside a finaliser.
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), grace / 3)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
