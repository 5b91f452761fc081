"""What pytest did is told as it was: passed, failed, skipped, absent, and how many examples were drawn."""

from __future__ import annotations

from benchmarks.trust import tests_run
from benchmarks.trust.tables import proofs, rows


def test_examples_are_multiplied_and_counted():
    found = tests_run.run(["test_values.py"], "--times", "2", "--hypothesis-seed", "0")
    assert {node: each["examples"] for node, each in found.items()} == {
        "tests/test_values.py::test_nothing_but_a_usage_error_comes_out": 200
    }
    summed = tests_run.summed(found)
    assert summed["hostile input"] == {"tests": 1, "examples": 200}
    assert summed["met"]


def test_a_failure_is_told():
    outcomes = {
        "tests/a.py::test_x": {"outcome": "passed", "examples": 5},
        "tests/io/test_fuzz.py::test_y[1]": {"outcome": "failed"},
    }
    summed = tests_run.summed(outcomes)
    assert summed["failed"] == ["tests/io/test_fuzz.py::test_y[1]"]
    assert not summed["met"]
    assert not tests_run.summed({})["met"]


def test_a_row_passes_if_all_its_tests_do():
    outcomes = {
        "tests/a.py::test_x[1]": {"outcome": "passed"},
        "tests/a.py::test_x[2]": {"outcome": "skipped"},
        "tests/a.py::test_y": {"outcome": "failed"},
        "tests/a.py::test_z": {"outcome": "skipped"},
    }
    table = {
        "good": ["a.py::test_x"],
        "bad": ["a.py::test_x", "a.py::test_y"],
        "left out": ["a.py::test_z"],
        "gone": ["a.py::test_w"],
    }
    found = tests_run.judged(table, outcomes)
    assert (found["rows"], found["tests"], found["passed"]) == (4, 4, 1)
    assert found["not_passed"] == {
        "bad": {"a.py::test_y": "failed"},
        "left out": {"a.py::test_z": "skipped"},
        "gone": {"a.py::test_w": "absent"},
    }


def test_rows_leave_out_headings():
    text = "| a | b |\n|---|---|\n| 1 | `x/test_a.py::test_b` |\n"
    assert list(rows(text)) == [["1", "`x/test_a.py::test_b`"]]
    assert len(proofs("docs/faults.md")) > 150
