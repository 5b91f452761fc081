"""A progress bar on terminals."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from petrt.inference.notebook import terminal_bar


def bar(label: str, unit: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """A progress bar on stderr if that is a terminal and --quiet is off. Yields a callback (done, total)."""
    hidden = not logging.getLogger("petrt").isEnabledFor(logging.INFO)
    return terminal_bar(label, unit, hidden=hidden)
