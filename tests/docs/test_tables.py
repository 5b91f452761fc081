"""Tables of the README and the pages: a row with other cells than its head is cut or broken on the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES

FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def cells(row: str) -> int:
    """As GitHub and the site count them: a bare ``|`` ends a cell, within code, too; ``\\|`` does not."""
    return len(re.split(r"(?<!\\)\|", row.strip()[1:-1]))


def tables(text: str) -> Iterator[list[str]]:
    """The rows of each table outside of fences, its head first."""
    for block in re.findall(r"(?:^\|.*\n?)+", FENCE.sub("", text), re.MULTILINE):
        yield block.splitlines()


def test_a_bare_bar_ends_a_cell_within_code_too():
    assert cells(r"| a | `|x|` |") == 4
    assert cells(r"| a | `\|x\|` |") == 2
    assert cells("| a | |") == 2
    assert cells("| | |") == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_row_has_the_cells_of_its_head(page: Path):
    for head, *rows in tables(page.read_text(encoding="utf-8")):
        assert rows, head
        assert [row for row in rows if cells(row) != cells(head)] == []
