"""The command line, with one file per command."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def main() -> None:
    """Entry point of ``petrt``. An error becomes one line on stderr and a documented exit code."""
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # a name must not end a command, whatever the terminal shows
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    from petrt.cli.app import run

    code = run(sys.argv[1:])
    for stream in (sys.__stdout__, sys.__stderr__):
        _let_go(stream)
    sys.exit(code)


def _let_go(stream: object) -> None:
    """Flush ``stream``. If nobody reads it any more, what is left goes nowhere, without a complaint."""
    try:
        stream.flush()  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]
