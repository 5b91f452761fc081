"""Progress bars where somebody looks on: in a notebook, and at a Python prompt on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from petrt.errors import UsageError, spoken

Progress = Callable[[int, int], None]
EVERY_S = 0.1  # between two updates of a page


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def at_prompt() -> bool:
    """Whether somebody types at a Python prompt on a terminal."""
    return hasattr(sys, "ps1") and sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def watched(progress: Any, label: str = "petrt") -> Iterator[Progress | None]:
    """The function that is told (slices done, slices in all).

    ``progress``: one of the caller's; True for a bar, False for none; None for a bar where somebody looks
    on, but never in a command, which has its own. Raises UsageError for anything else.
    """
    if progress is None:
        progress = spoken() is None and (in_notebook() or at_prompt())
    if progress is False:
        yield None
    elif progress is not True:
        if not callable(progress):
            what = f"progress is a {type(progress).__name__}"
            raise UsageError(what, "give a function, or True or False")
        yield progress
    elif in_notebook():
        yield from _on_page(label)
    else:
        with terminal_bar(label, "slices") as bar:
            yield bar


@contextmanager
def terminal_bar(label: str, unit: str, *, hidden: bool = False) -> Iterator[Progress]:
    """A bar on stderr, which goes when it is done; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    disable = hidden or not console.is_terminal
    with Bar(*columns, console=console, disable=disable, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _on_page(label: str) -> Iterator[Progress]:
    """A bar in the output of a notebook's cell, made of plain HTML, which needs no widgets. It goes when it
    is done, and stays where something failed."""
    from IPython.display import HTML, display

    page = display(HTML(_bar(label, 0, 0)), display_id=True)
    last = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVERY_S:
            last = now
            page.update(HTML(_bar(label, done, total)))

    yield told
    page.update(HTML(""))


def _bar(label: str, done: int, total: int) -> str:
    value = f' value="{done}" max="{total}"' if total else ""
    count = f" {done} of {total} slices" if total else ""
    return f"<div>{label} <progress{value}></progress>{count}</div>"
