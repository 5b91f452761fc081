"""TensorRT's log and the errors that it reports."""

from __future__ import annotations

import logging
import threading
from collections import deque
from functools import lru_cache
from typing import Any

logger = logging.getLogger("petrt")

KEPT = 16
LONGEST = 300


class Errors:
    """An error recorder for TensorRT: the errors since the last call of ``take``."""

    def __init__(self, trt: Any) -> None:
        self._list: list[tuple[Any, str]] = []
        self.recorder = _recorder_class(trt)(self._list)
        self._allocation = trt.ErrorCodeTRT.FAILED_ALLOCATION

    def __bool__(self) -> bool:
        return bool(self._list)

    @property
    def out_of_memory(self) -> bool:
        return any(
            code == self._allocation or "out of memory" in text.lower() or "OutOfMemory" in text
            for code, text in self._list
        )

    def take(self) -> str:
        """The first error, the cause of the others, in one line; "" if there is none."""
        texts = [text for _, text in self._list]
        self._list.clear()
        return one_line(texts[0]) if texts else ""


@lru_cache
def _recorder_class(trt: Any) -> Any:
    """The recorder's class, made after TensorRT is imported because its base class is TensorRT's."""

    class Recorder(trt.IErrorRecorder):
        def __init__(self, errors: list[tuple[Any, str]]) -> None:
            trt.IErrorRecorder.__init__(self)
            self._errors, self._lock = errors, threading.Lock()

        def report_error(self, code: Any, description: str) -> bool:
            with self._lock:
                if len(self._errors) < KEPT:
                    self._errors.append((code, description))
            return True  # every error ends the call

        def num_errors(self) -> int:
            return len(self._errors)

        def get_error_code(self, index: int) -> Any:
            return self._errors[index][0]

        def get_error_desc(self, index: int) -> str:
            return self._errors[index][1]

        def has_overflowed(self) -> bool:
            return len(self._errors) >= KEPT

        def clear(self) -> None:
            with self._lock:
                self._errors.clear()

    return Recorder


@lru_cache
def log_of(trt: Any) -> Any:
    """The only logger of this process for the module ``trt``, which keeps the first logger it is given.

    Everything goes to petrt's debug log. ``take`` returns the latest error, for failures before an error
    recorder can be set.
    """

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=KEPT)
            self.warnings: deque[str] = deque(maxlen=KEPT)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self._errors.append(message)
            elif severity == trt.ILogger.WARNING:
                self.warnings.append(one_line(message))
            if severity != trt.ILogger.VERBOSE:
                logger.debug("TensorRT: %s", message)

        def take(self, which: int = -1) -> str:
            """The latest error in one line, or the first for ``which`` 0; "" if there is none."""
            text = one_line(self._errors[which]) if self._errors else ""
            self._errors.clear()
            return text

    return Log()


def one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
