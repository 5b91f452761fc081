"""What commands print on stdout: one way out for texts, tables and JSON.

Texts may hold names of files and patients' texts of headers. They are shown as they are, but for what is
not printable, and never as markup.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from petrt.errors import UsageError
from petrt.files.names import printable

STDOUT = Path("-")


def say(value: object, *, err: bool = False) -> None:
    """Print one line."""
    typer.echo(printable(str(value)), err=err)


class Output(Console):
    """A console for tables: as wide as the terminal; without one as COLUMNS says, or 80 columns."""

    def __init__(self, *, err: bool = False) -> None:
        super().__init__(stderr=err, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich does it, but no word of a table is cut or broken while there is room for it."""
        for each in objects:
            if isinstance(each, Table):
                _keep_words(each)
        super().print(*objects, **how)

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError that is being handled


def _keep_words(table: Table) -> None:
    """Each column is as wide as its longest word, unless it may fold, as one of paths."""
    for column in table.columns:
        if column.overflow != "fold":
            texts = (str(each) for each in (column.header, *column.cells))
            words = (word for text in texts for word in text.split())
            column.min_width = max(map(len, words), default=0)


def cell(value: object, style: str = "") -> Text:
    """A text for a table, printable and without markup."""
    return Text(printable(str(value)), style=style)


def add_row(table: Table, *values: object) -> None:
    """Add a row; each value that is no ``cell`` becomes one."""
    table.add_row(*(each if isinstance(each, Text) else cell(each) for each in values))


def files(*paths: Path | None) -> list[Path]:
    """The paths that are files: neither absent nor ``-``, which is stdout."""
    return [path for path in paths if path is not None and path != STDOUT]


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Print JSON; with ``one_line`` for a stream of records, one a line."""
    typer.echo(json.dumps(value, indent=None if one_line else 2, allow_nan=False))


def not_stdout(**outputs: Path | None) -> None:
    """Raise UsageError for an option that names a file as ``-``: only records go to stdout."""
    for name, path in outputs.items():
        if path == STDOUT:
            raise UsageError(
                f"--{name.replace('_', '-')} cannot be -, which is stdout",
                "only --json can; name a file",
            )


def write_json(path: Path | None, value: Any, *, overwrite: bool) -> None:
    """Write ``value`` to the file that --json names, print it for ``-``, or do nothing for None."""
    from petrt.files.atomic import atomic_write_json

    if path == STDOUT:
        print_json(value)
    elif path is not None:
        atomic_write_json(path, value, overwrite=overwrite)
