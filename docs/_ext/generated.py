"""Fills in the parts of pages that are made from the code: a line ``<!-- generated: NAME -->``."""

from __future__ import annotations

import re
from typing import Any

import commands
import settings
from sphinx.application import Sphinx

PARTS = {
    "commands": commands.reference,
    "training keys": settings.training,
    "bundle keys": settings.bundle,
}
MARK = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)


def filled(text: str) -> str:
    """``text`` with each mark replaced by its part. Raises KeyError for an unknown name."""
    return MARK.sub(lambda found: PARTS[found[1]](), text)


def _read(_: Sphinx, __: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
