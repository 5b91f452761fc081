"""Where derived series go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class NotSent(Exception):
    """A series did not arrive. ``again``: the next attempt may succeed. The text holds no UID."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.reason, self.again = reason, again


class Target(Protocol):
    """A server that takes series."""

    def send(self, files: Sequence[Path]) -> None:
        """Send all ``files`` of a series. Those that the server has already are no error. Raises NotSent."""
