"""The tests that the pages name, and the property tests with more examples, run by pytest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.trust.tables import FAULTS, REQUIREMENTS
from benchmarks.trust.tables import proofs as named

Outcomes = dict[str, dict[str, Any]]
# Beside ``*/test_fuzz.py``: these tests feed damaged or hostile bytes, fields and values.
HOSTILE = ("test_fuzz.py", "test_values.py", "store/test_record.py")


def proofs() -> dict[str, Any]:
    """Every row of the two pages: do its tests pass?"""
    pages = {page: named(page) for page in (FAULTS, REQUIREMENTS)}
    nodes = {node for rows in pages.values() for each in rows.values() for node in each}
    outcomes = run(sorted(nodes), "--strict-markers", "-m", "not gpu")
    found = {page: judged(rows, outcomes) for page, rows in pages.items()}
    states = {
        s for page in found.values() for row in page["not_passed"].values() for s in row.values()
    }
    return {"pages": found, "met": not states}


def judged(rows: dict[str, list[str]], outcomes: Outcomes) -> dict[str, Any]:
    """How many rows' tests passed; the names of those of which one failed, was skipped or is absent."""
    wrong = {}
    for row, nodes in rows.items():
        states = {node: _state(node, outcomes) for node in nodes}
        if bad := {node: state for node, state in states.items() if state != "passed"}:
            wrong[row] = bad
    tests = {node for nodes in rows.values() for node in nodes}
    return {
        "rows": len(rows),
        "tests": len(tests),
        "passed": len(rows) - len(wrong),
        "not_passed": wrong,
    }


def _state(node: str, outcomes: Outcomes) -> str:
    """Of a test with all its parameters: skipped counts only if all are."""
    states = {
        each["outcome"]
        for name, each in outcomes.items()
        if name.partition("[")[0] == f"tests/{node}"
    }
    if "failed" in states:
        return "failed"
    return "passed" if "passed" in states else "skipped" if states else "absent"


def fuzz(times: float, seed: int, hostile: bool = False) -> dict[str, Any]:
    """Every property test of Hypothesis, or those of ``hostile`` input, with ``times`` as many examples."""
    files = [
        str(path.relative_to(ROOT / "tests"))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if re.search(r"^@given\(", path.read_text(encoding="utf-8"), re.MULTILINE)
        and (not hostile or str(path).endswith(HOSTILE))
    ]
    more = ("--times", str(times), "--hypothesis-seed", str(seed), "-m", "not slow and not gpu")
    return summed(run(files, *more)) | {"times": times, "seed": seed}


def summed(outcomes: Outcomes) -> dict[str, Any]:
    """Tests and examples, of hostile input and of all others; those that failed."""
    groups: dict[str, dict[str, int]] = {}
    for node, each in outcomes.items():
        hostile = node.partition("::")[0].endswith(HOSTILE)
        group = groups.setdefault("hostile input" if hostile else "properties", {})
        group["tests"] = group.get("tests", 0) + 1
        group["examples"] = group.get("examples", 0) + each.get("examples", 0)
    failed = sorted(node for node, each in outcomes.items() if each["outcome"] == "failed")
    return {
        **groups,
        "by_test": {
            node.removeprefix("tests/"): each["examples"]
            for node, each in outcomes.items()
            if "examples" in each
        },
        "failed": failed,
        "met": bool(outcomes) and not failed,
    }


def run(nodes: list[str], *options: str) -> Outcomes:
    """Run tests, named from the folder ``tests``. Raises RuntimeError where pytest itself fails."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "outcomes.json"
        plugin = ("-p", "benchmarks.trust.plugin", "--outcomes", str(path))
        command = [sys.executable, "-m", "pytest", "-q", *plugin, *options]
        done = subprocess.run(
            [*command, *(f"tests/{node}" for node in nodes)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1) or not path.exists():
            raise RuntimeError(done.stdout[-4000:])
        sys.stderr.write(done.stdout[-4000:] if done.returncode else "")
        outcomes: Outcomes = json.loads(path.read_text())
        return outcomes
