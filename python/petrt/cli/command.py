"""Makes a command of a function: with the options of the log, words to choose from, and its help."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import typer
from typer.models import OptionInfo

from petrt.cli.choices import enumerated, plain
from petrt.cli.examples import EXAMPLES
from petrt.cli.logs import Debug, LogFormat, LogOptions, Quiet, Verbose, for_command
from petrt.errors import speak_of

LOG_OPTIONS = {"verbose": Verbose, "quiet": Quiet, "log_format": LogFormat, "debug": Debug}


def add_command(
    app: typer.Typer, function: Callable[..., None], panel: str, *, cls: Any = None
) -> None:
    """Add ``function`` to ``app``, in this panel of the help, by its name."""
    name = function.__name__.replace("_", "-")
    app.command(
        name, cls=cls, help=paragraphs(function), epilog=example(name), rich_help_panel=panel
    )(command_of(function))


def command_of(function: Callable[..., None]) -> Callable[..., None]:
    """``function`` with the options of the log after its own. Errors name the options that it has."""
    signature = inspect.signature(function, eval_str=True)
    options = frozenset(option_names(signature))

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        given = {each.name: plain(kwargs.pop(each.name)) for each in fields(LogOptions)}
        for_command(LogOptions(**given))
        speak_of(options)
        try:
            function(*args, **{name: plain(value) for name, value in kwargs.items()})
        except KeyboardInterrupt as stop:  # of which some versions of Typer say nothing
            raise typer.Abort from stop

    own = [
        each.replace(annotation=enumerated(each.annotation))
        for each in signature.parameters.values()
    ]
    defaults = LogOptions()
    log = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(defaults, name),
            annotation=enumerated(annotation),
        )
        for name, annotation in LOG_OPTIONS.items()
    ]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *log)}
    run.__signature__ = signature.replace(parameters=[*own, *log])  # type: ignore[attr-defined]
    return run


def option_names(signature: inspect.Signature) -> Iterator[str]:
    """The options of a command as words, ``dry_run`` for ``--dry-run``. Arguments are none."""
    for name, each in signature.parameters.items():
        for info in getattr(each.annotation, "__metadata__", ()):
            if isinstance(info, OptionInfo):
                long = (text for text in info.param_decls or () if text.startswith("--"))
                yield next(long, f"--{name}")[2:].replace("-", "_")


def paragraphs(function: Callable[..., None]) -> str:
    """The docstring with each paragraph on one line, so that the terminal decides where its lines end."""
    blocks = re.split(r"\n\s*\n", inspect.getdoc(function) or "")
    return "\n\n".join(" ".join(block.split()) for block in blocks)


def example(name: str) -> str:
    """The end of a command's help; lines are paragraphs, since Typer joins others."""
    lines = EXAMPLES[name]
    return "\n\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *lines])
