"""Fills in the parts of pages that are made from the code: a line ``<!-- generated: NAME -->``."""

from __future__ import annotations

import re
from typing import Any

import card
import commands
import settings
import trust
from sphinx.application import Sphinx

PARTS = {
    "card": card.shipped,
    "commands": commands.reference,
    "training keys": settings.training,
    "bundle keys": settings.bundle,
    "trust fuzzing": trust.fuzzing,
    "trust policy": trust.policy,
    "trust proofs": trust.proofs,
    "trust stress": trust.stress,
}
MARK = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)


def filled(text: str) -> str:
    """``text`` with each mark replaced by its part. Raises KeyError for an unknown name."""
    return MARK.sub(lambda found: PARTS[found[1]](), text)


def _read(_: Sphinx, __: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def _plain(*told: Any) -> tuple[str, str] | None:
    """A signature with the names of type aliases, which Sphinx writes as forward references in a union."""
    signature, result = told[-2:]
    plain = [
        re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text or "") for text in (signature, result)
    ]
    return (plain[0], plain[1]) if signature else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-signature", _plain)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
