"""The tables of docs/faults.md and docs/trust.md that name tests."""

from __future__ import annotations

import re
from collections.abc import Iterator

from benchmarks.common import ROOT

FAULTS, REQUIREMENTS = "docs/faults.md", "docs/trust.md"
_NODE = re.compile(r"`([\w/]+\.py::\w+)`")


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of a table but headings and rules."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line.startswith("| ") and not following.startswith("|---"):
            yield [cell.strip() for cell in line[1:].removesuffix("|").split("|")]


def proofs(page: str) -> dict[str, list[str]]:
    """The first cell of each row that names tests -> their node ids, from the folder ``tests``."""
    found: dict[str, list[str]] = {}
    for cells in rows((ROOT / page).read_text(encoding="utf-8")):
        if nodes := _NODE.findall(cells[-1]):
            found.setdefault(cells[0], []).extend(nodes)
    return found
