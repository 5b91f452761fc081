"""Warnings of the readers go with the volume, too: they belong in the record of what is made of it."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from petrt.io.volume import Volume

Arguments = ParamSpec("Arguments")
READERS = logging.getLogger("petrt.io")


class _Listener(logging.Handler):
    """Keeps the warnings of this thread, without the name of the input, which the record has."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            name = record.args[0] if isinstance(record.args, tuple) and record.args else ""
            self.heard.append(record.getMessage().removeprefix(f"{name}: "))


def with_warnings(read: Callable[Arguments, Volume]) -> Callable[Arguments, Volume]:
    """``read`` whose Volume has in ``warnings`` what the readers said, in the log as before."""

    @functools.wraps(read)
    def reading(*arguments: Arguments.args, **options: Arguments.kwargs) -> Volume:
        listener = _Listener()
        READERS.addHandler(listener)
        try:
            volume = read(*arguments, **options)
        finally:
            READERS.removeHandler(listener)
        return replace(volume, warnings=tuple(listener.heard))

    return reading
