"""A plugin of pytest: what every test did, as JSON, and property tests with more examples.

pytest -p benchmarks.trust.plugin --outcomes FILE [--times N]
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Of an item: the examples that its property test passed.
_PASSING = re.compile(r"generate phase.*?(\d+) passing", re.DOTALL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, help="file for what every test did")
    parser.addoption("--times", type=float, help="property tests alone, with N times the examples")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(config.getoption("--outcomes")))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    times = config.getoption("--times")
    if times is None:
        return
    from hypothesis import is_hypothesis_test, settings

    kept = [item for item in items if is_hypothesis_test(getattr(item, "obj", None))]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    # Several parameters share one function.
    for function in {id(item.obj): item.obj for item in kept}.values():
        old = function._hypothesis_internal_use_settings
        more = max(1, round(times * old.max_examples))
        function._hypothesis_internal_use_settings = settings(old, max_examples=more, deadline=None)


class Outcomes:
    """Node id -> outcome, seconds, examples."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.found: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Iterator[None]:
        outcome = yield
        report = outcome.get_result()  # type: ignore[attr-defined]
        mine = self.found.setdefault(item.nodeid, {"outcome": "passed", "seconds": 0.0})
        mine["seconds"] = round(mine["seconds"] + report.duration, 3)
        if not report.passed:
            mine["outcome"] = report.outcome
        if passing := _PASSING.search(getattr(item, "hypothesis_statistics", "")):
            mine["examples"] = int(passing[1])

    def pytest_sessionfinish(self) -> None:
        if self.path is not None:
            self.path.write_text(json.dumps(self.found))
