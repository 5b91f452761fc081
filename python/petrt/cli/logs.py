"""The log on stderr, and the options for it, which stand before or after the command."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Annotated

import typer

from petrt.cli.choices import offering
from petrt.errors import speak_of
from petrt.files.names import printable

logger = logging.getLogger("petrt")

FORMATS = ("text", "json")
PANEL = "Log"

Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Log more: what is read and written, the schedule, seconds by part.",
        rich_help_panel=PANEL,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.", rich_help_panel=PANEL)]
LogFormat = Annotated[
    str | None,
    typer.Option(
        help="text (the default) or json.",
        metavar="FORMAT",
        autocompletion=offering(*FORMATS),
        rich_help_panel=PANEL,
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=PANEL)]


@dataclass(frozen=True)
class LogOptions:
    """How a command logs."""

    verbose: bool = False
    quiet: bool = False
    log_format: str | None = None
    debug: bool = False

    def __or__(self, other: LogOptions) -> LogOptions:
        """Both together; the format of ``other``, which is given later."""
        return LogOptions(
            self.verbose or other.verbose,
            self.quiet or other.quiet,
            other.log_format or self.log_format,
            self.debug or other.debug,
        )

    @classmethod
    def guessed(cls, arguments: Sequence[str]) -> LogOptions:
        """Those of a command line that cannot be parsed, so that its error is told in the right form."""
        words = [*arguments[: arguments.index("--")]] if "--" in arguments else [*arguments]
        following = dict(pairwise(words)).get("--log-format")
        joined = [w.partition("=")[2] for w in words if w.startswith("--log-format=")]
        given = joined[-1] if joined else following
        return cls(log_format=given if given in FORMATS else None, debug="--debug" in words)

    def check(self) -> None:
        """Raise a usage error for an unknown format."""
        if self.log_format is not None and self.log_format not in FORMATS:
            raise typer.BadParameter(
                f"--log-format is '{self.log_format}'; choose {' or '.join(FORMATS)}"
            )

    def apply(self) -> None:
        """Log to stderr this way from now on."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Json() if self.log_format == "json" else _Text())
        level = logging.INFO
        if self.quiet or self.verbose:
            level = logging.ERROR if self.quiet else logging.DEBUG
        handler.setLevel(level)
        handler.addFilter(_Once())
        logger.handlers[:] = [handler]
        logger.setLevel(
            min(level, logging.WARNING)
        )  # a record holds warnings that are not shown, too
        logger.propagate = False


class _Once(logging.Filter):
    """Lets the line of an engine through once, however many reconstructors of a command use it."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if getattr(record, "event", "") != "engine":
            return True
        known = text in self._told
        self._told.add(text)
        return not known


class _Text(logging.Formatter):
    """A record is one line, whatever its text holds."""

    def format(self, record: logging.LogRecord) -> str:
        return f"petrt: {printable(record.getMessage())}"


class _Json(logging.Formatter):
    """A record is one line of JSON (docs/formats.md); the last one of a failed command holds its exit code.

    ``event``, ``case`` and ``seconds`` are what ``extra`` of the log call holds.
    """

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        case = getattr(record, "case", None)
        content = {
            "time": datetime.fromtimestamp(record.created)
            .astimezone()
            .isoformat("T", "milliseconds"),
            "level": level,
            "event": getattr(record, "event", level),
            "case": None if case is None else printable(str(case)),
            "seconds": getattr(record, "seconds", None),
            "message": printable(record.getMessage()),
        }
        for name in ("exit_code", "traceback"):
            if hasattr(record, name):
                content[name] = getattr(record, name)
        return json.dumps(content)


class _Log:
    """What was asked for before the command, and what holds now."""

    before = LogOptions()
    now = LogOptions()


@contextmanager
def logging_for(arguments: Sequence[str]) -> Iterator[None]:
    """Log as far as ``arguments`` tell before they are parsed. In the end all is as it was before."""
    old = logger.handlers[:], logger.level, logger.propagate
    _Log.before = LogOptions()
    _Log.now = LogOptions.guessed(arguments)
    _Log.now.apply()
    try:
        yield
    finally:
        speak_of(None)
        logger.handlers[:], level, logger.propagate = old
        logger.setLevel(level)


def before_command(options: LogOptions) -> None:
    """The options that stand before the command; what was guessed holds until it is parsed, too."""
    options.check()
    _Log.before = options
    _Log.now = options | _Log.now
    _Log.now.apply()


def for_command(given: LogOptions) -> None:
    """The options that stand after the command, beside those before it."""
    given.check()
    _Log.now = _Log.before | given
    _Log.now.apply()


def tell(error: BaseException, text: str, exit_code: int) -> int:
    """Log the error that ends a command, with its traceback if that is wanted; return ``exit_code``."""
    lines = "".join(traceback.format_exception(error)).rstrip() if _Log.now.debug else ""
    extra = {"exit_code": exit_code} | ({"traceback": lines} if lines else {})
    if lines and _Log.now.log_format != "json":
        print(lines.encode("ascii", "backslashreplace").decode(), file=sys.stderr)
    logger.error("error: %s", " ".join(text.split()), extra=extra)
    return exit_code
