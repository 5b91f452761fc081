"""File names as text that is safe in messages, logs and reports."""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 120


def printable(text: str) -> str:
    """``text`` on one line: what is not printable, line ends among it, is escaped.

    Every text from outside goes through this, or ``shown``, on its way to a log, a table or a terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def shown(path: str | os.PathLike[str]) -> str:
    """The last part of ``path``, printable on one line.

    Control characters, line ends, text-direction marks and undecodable bytes are escaped. A name over
    120 characters is cut in the middle. Folders are left out, because they may be named after patients.
    """
    safe = printable(Path(path).name or str(path))
    if len(safe) <= LONGEST:
        return safe
    half = (LONGEST - 1) // 2
    return f"{safe[:half]}…{safe[-half:]}"
