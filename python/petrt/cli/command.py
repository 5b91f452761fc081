"""Makes a command of a function: with the options of the log, words to choose from, and its help."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from petrt.cli.choices import enumerated, plain
from petrt.cli.examples import EXAMPLES
from petrt.cli.logs import Debug, LogFormat, LogOptions, Quiet, Verbose, for_command
from petrt.errors import speak_of

LOG_OPTIONS = {"verbose": Verbose, "quiet": Quiet, "log_format": LogFormat, "debug": Debug}


class Command(TyperCommand):
    """Names the argument that is missing.

    Words go to the arguments from both ends, so of ``IN... OUT`` a single word is OUT, and IN is missing. But
    who gives one word gives the first one.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [*args]
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.param = self._without_word(ctx, error.param, words)
            raise

    def _without_word(self, ctx: Any, refused: Any, words: list[str]) -> Any:
        """The first argument that no word is left for; ``refused`` if that is no argument of many words, or
        has some."""
        if getattr(refused, "nargs", 1) >= 0 or refused not in self.params:
            return refused
        given, _, _ = self.make_parser(ctx).parse_args(words)
        arguments = [each for each in self.params if each.param_type_name == "argument"]
        place = arguments.index(refused)
        if given.get(refused.name):
            return refused
        taken = sum(given.get(each.name) is not None for each in arguments[place + 1 :])
        return arguments[place + taken]


def add_command(
    app: typer.Typer, function: Callable[..., None], panel: str, *, cls: type[Command] = Command
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
        if (long := _long_name(name, each)) is not None:
            yield long[2:].replace("-", "_")


def _long_name(name: str, parameter: inspect.Parameter) -> str | None:
    """What the option is called in the command line; None for an argument."""
    for info in getattr(parameter.annotation, "__metadata__", ()):
        if isinstance(info, OptionInfo):
            # Within Annotated the first name stands where Typer has the default elsewhere.
            named = [
                text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)
            ]
            own = f"--{name.replace('_', '-')}"
            return next((text for text in named if text.startswith("--")), own)
    return None


def asked(
    function: Callable[..., None], values: Mapping[str, Any], without: Container[str] = ()
) -> dict[str, Any]:
    """The options of a command whose ``values`` are not its defaults, by their long names, fit for a page:
    names in capitals stand for files and UIDs, which may name a patient. ``without``: names of parameters.
    """
    from petrt.model.bundle import shipped_models

    found: dict[str, Any] = {}
    for name, each in inspect.signature(function, eval_str=True).parameters.items():
        long, value = _long_name(name, each), values[name]
        if long is None or name in without or (name != "model" and value in (each.default, None)):
            continue
        if isinstance(value, Path) or (name == "model" and value not in shipped_models()):
            value = long[2:].upper()
        elif name == "series":
            value = ["UID"] * len(value)
        found[long[2:]] = value
    return found


def paragraphs(function: Callable[..., None]) -> str:
    """The docstring with each paragraph on one line, so that the terminal decides where its lines end."""
    blocks = re.split(r"\n\s*\n", inspect.getdoc(function) or "")
    return "\n\n".join(" ".join(block.split()) for block in blocks)


def example(name: str) -> str:
    """The end of a command's help; lines are paragraphs, since Typer joins others."""
    lines = EXAMPLES[name]
    return "\n\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *lines])
