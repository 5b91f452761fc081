"""How much the node takes from the network."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """``object_bytes`` of one object, ``objects`` of one series, ``queue_bytes`` of the whole queue,
    ``associations`` at once, objects ``per_second`` of all associations together."""

    object_bytes: int = 256 << 20
    objects: int = 10_000
    queue_bytes: int = 50 << 30
    associations: int = 8
    per_second: float = 500.0


class Pace:
    """Lets ``per_second`` callers a second through, a second's worth of them at once; the others wait.

    A sender that waits slows down, where one that is refused loses its object.
    """

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._lock = threading.Lock()
        self._free = max(1.0, per_second)  # calls that may come at once
        self._then = time.monotonic()

    def wait(self) -> None:
        """Return when this caller's turn has come."""
        with self._lock:
            now = time.monotonic()
            most = max(1.0, self._per_second)
            self._free = min(most, self._free + (now - self._then) * self._per_second) - 1.0
            self._then = now
            seconds = max(0.0, -self._free / self._per_second)
        time.sleep(seconds)
