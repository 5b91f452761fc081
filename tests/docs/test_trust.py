"""docs/trust.md: its tests exist, and what it shows is what was measured and what the policy says."""

from __future__ import annotations

import importlib.util
import json
import re
from typing import Any

import pytest

from benchmarks.trust.tables import FAULTS, REQUIREMENTS, proofs, rows
from tests.docs.pages import ROOT, functions_in

PAGE = (ROOT / REQUIREMENTS).read_text(encoding="utf-8")
STRESS = ("memory", "cache", "kill", "disk")
PROOFS = proofs(REQUIREMENTS)


def test_every_requirement_is_one_row_with_a_test():
    text = PAGE.split("\n## Faults", 1)[0]
    requirements = [cells[0] for cells in rows(text)]
    assert len(requirements) > 25
    assert len(requirements) == len(set(requirements))
    assert [name for name in requirements if name not in PROOFS] == []


@pytest.mark.parametrize(("requirement", "nodes"), PROOFS.items(), ids=[r[:40] for r in PROOFS])
def test_the_tests_of_a_requirement_exist(requirement, nodes):
    assert len(nodes) == len(set(nodes))
    for node in nodes:
        path, name = node.split("::")
        assert name in functions_in(ROOT / "tests" / path), node
    (row,) = [cells for cells in rows(PAGE) if cells[0] == requirement]
    assert len(nodes) == row[1].count("`") / 2  # nothing else stands there


@pytest.fixture(scope="module")
def shown() -> Any:
    path = ROOT / "docs" / "_ext" / "trust.py"
    spec = importlib.util.spec_from_file_location("docs_trust", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_section_is_there_with_its_date(shown):
    found = json.loads(shown.RESULTS.read_text())
    assert {*found} <= {*STRESS, "proofs", "fuzz"}
    assert {*STRESS} <= {*found}
    for section in found.values():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", section["date"])
        assert section["machine"]["cpu"]
    text = shown.stress() + shown.proofs() + shown.fuzzing()
    assert all(section["date"][:10] in text for section in found.values())
    assert text.count("| yes |") == sum(
        found[name]["met"] for name in ("memory", "cache", "kill", "disk")
    )


def test_the_stored_proofs_are_of_the_rows_that_the_pages_have(shown):
    """Else ``python -m benchmarks.trust proofs`` has to run again."""
    found = json.loads(shown.RESULTS.read_text())["proofs"]["pages"]
    assert {page: each["rows"] for page, each in found.items()} == {
        page: len(proofs(page)) for page in (FAULTS, REQUIREMENTS)
    }


def test_a_section_that_does_not_hold_says_so(shown, monkeypatch):
    found = json.loads(shown.RESULTS.read_text())
    found["kill"]["met"] = False
    monkeypatch.setattr(shown, "results", lambda: found)
    assert "| **no** |" in shown.stress()
    page = {"rows": 2, "tests": 2, "passed": 1, "not_passed": {"x": {"a.py::test_x": "failed"}}}
    found["proofs"] = {"date": "2026-01-02T03:04:05+00:00", "pages": {"docs/trust.md": page}}
    assert "`a.py::test_x` (failed)" in shown.proofs()
    for name in ("proofs", "fuzz", "kill"):
        found.pop(name, None)
    assert shown.proofs() == shown.fuzzing() == shown.NOT_YET
    assert "SIGKILL" not in shown.stress()


def test_every_bar_is_shown(shown):
    from benchmarks.accept.policy import read_policy

    text = shown.policy()
    bars = read_policy().model_dump()
    assert len(text.splitlines()) == 2 + sum(len(table) for table in bars.values())
    assert (
        "| coverage of calibrated 90 % intervals, % | the new one against full dose | 85 to 95 |"
        in text
    )
    assert "| PSNR, dB | new less old | at least -0.1 |" in text
    assert "| time | new over old | at most 1.2 |" in text


def test_the_page_shows_all_that_is_generated():
    marks = set(re.findall(r"^<!-- generated: (trust \w+) -->$", PAGE, re.MULTILINE))
    assert marks == {"trust proofs", "trust stress", "trust fuzzing", "trust policy"}
