"""Numbers on the pages that stand in a stored result are those of the result."""

from __future__ import annotations

import json
import re
import statistics

import pytest

from tests.docs.pages import ROOT


@pytest.mark.parametrize("page", ["performance.md", "first.md"])
def test_the_time_of_a_whole_command_is_the_measured_one(page: str):
    stored = json.loads((ROOT / "benchmarks/results/report.json").read_text())
    text = " ".join((ROOT / "docs" / page).read_text().split())
    (seconds,) = re.findall(r"takes about (\d+) s\b", text)
    assert int(seconds) == round(statistics.median(stored["command_s"]["plain"]))
    assert stored["machine"]["cores"] == 2  # as both pages say
