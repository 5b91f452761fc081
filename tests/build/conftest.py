"""Building in a process of its own, with the libraries of ``tests.build.rtx``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.build import rtx


@pytest.fixture(scope="session")
def rtx_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rtx.assemble(tmp_path_factory.mktemp("rtx"))


@pytest.fixture
def in_rtx(rtx_libraries: Path, tmp_path: Path) -> Callable[..., Any]:
    """Call a function of ``tests.build.rtx_worker``; whatever it leaves behind fails the test."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def call(function: str, **arguments: Any) -> Any:
        result = rtx.call(rtx_libraries, scratch, function, **arguments)
        left = [path.name for path in scratch.rglob("*")]
        assert not left, f"{function} left {left}"
        return result

    return call
