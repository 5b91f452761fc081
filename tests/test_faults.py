"""docs/faults.md: its tests exist, its codes are those of the error classes; help and README agree."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from petrt import errors
from petrt.cli.app import CLOSED_PIPE, app
from petrt.errors import PetrtError
from tests.error_classes import load_all, subclasses

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text()


def tables(text: str) -> list[list[str]]:
    """The cells of every row of a table, but for headings and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line[1:].removesuffix("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("case", "code")]


MEANING, FAULTS = (tables(part) for part in PAGE.split("\n## Input: files", 1))
CODES = {int(row[0]): row for row in MEANING}
ANY_ERROR = "an error raised in a pool"  # its test takes every class that there is
SIGNALS = ("TrainingStopped", "Stopped")  # their codes are those of signals


@pytest.fixture(scope="module")
def codes() -> dict[str, int]:
    """Every error class of petrt with its exit code; that of SIGNALS is their signal's."""
    load_all()
    kinds = {kind for kind in subclasses(PetrtError) if kind.__module__.startswith("petrt.")}
    return {kind.__name__: kind.exit_code for kind in kinds if kind.__name__ not in SIGNALS}


@cache
def names_in(path: Path) -> frozenset[str]:
    found = ast.parse(path.read_text()).body
    return frozenset(node.name for node in found if isinstance(node, ast.FunctionDef))


def test_every_row_has_four_cells_and_a_case_of_its_own():
    assert len(FAULTS) > 100
    assert [row for row in FAULTS if len(row) != 4 or not all(row)] == []
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    for section in sections:
        cases = [row[0] for row in tables(section)]
        assert len(cases) == len(set(cases))


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row[0][:40])
def test_the_test_of_a_row_exists(row):
    path, name = row[3].strip("`").split("::")
    assert name.startswith("test_")
    assert name in names_in(ROOT / "tests" / path)


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row[0][:40])
def test_the_code_of_a_row_is_that_of_its_class(row, codes):
    numbers = [int(each) for each in re.findall(r"(?<![\w.])\d+\b", re.sub("`[^`]*`", "", row[2]))]
    assert numbers
    assert set(numbers) <= set(CODES)
    for name in re.findall(r"`(\w+)`", row[2]):
        if name in SIGNALS:
            assert numbers[0] in (130, 143)
        else:
            assert codes[name] == numbers[0]


def words_of(path: Path, name: str) -> set[str]:
    """Names and numbers in a test, and in what it uses of its own file."""
    tree = ast.parse(path.read_text())
    own: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own[node.name] = node
        elif isinstance(node, ast.Assign):
            own |= {each.id: node for each in node.targets if isinstance(each, ast.Name)}
    found, waiting = set[str](), [name]
    while waiting:
        for node in ast.walk(own.pop(waiting.pop(), ast.Pass())):
            each = getattr(node, "id", getattr(node, "attr", getattr(node, "value", None)))
            if isinstance(each, str | int):
                found.add(str(each))
                waiting += [str(each)] if str(each) in own else []
    return found


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row[0][:40])
def test_the_test_of_a_row_asks_for_its_class_or_code(row):
    """So a row that says 3 `InputError` has a test that would fail if another one came."""
    path, name = row[3].strip("`").split("::")
    classes, codes = re.findall(r"`(\w+)`", row[2]), re.findall(r"\d+", re.sub("`.*?`", "", row[2]))
    if codes != ["0"] and row[0] != ANY_ERROR:
        signals = {"SIGTERM"} if "143" in codes else set()
        assert {*classes, *codes, *signals} & words_of(ROOT / "tests" / path, name)


def test_every_class_is_in_the_table_of_codes(codes):
    listed = {
        name: code
        for code, row in CODES.items()
        for name in re.findall(r"`([A-Z]\w+)`", row[2] + row[3])
        if name in codes
    }
    assert listed == codes
    for code in (130, 143):
        assert all(f"`{name}`" in CODES[code][2] for name in SIGNALS)
    assert CODES[CLOSED_PIPE][1].startswith("stdout was closed")


def test_the_faults_show_every_code():
    shown = {int(code) for row in FAULTS for code in re.findall(r"^\d+|(?<=or )\d+", row[2])}
    assert shown == set(CODES)


def listed(text: str) -> set[int]:
    """The numbers of a sentence that begins with "Exit codes"."""
    (sentence,) = re.findall(r"Exit codes[^:]*: (.*?)\.(?:\s|$)", text, re.DOTALL)
    return {int(number) for number in re.findall(r"\b\d+\b", sentence)}


def test_help_readme_and_docstring_list_the_same_codes():
    assert listed(app.info.epilog) == set(CODES)
    assert listed((ROOT / "README.md").read_text()) == set(CODES)
    assert listed(errors.__doc__ or "") == set(CODES)
