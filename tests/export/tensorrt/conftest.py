"""Building in a process of its own (see ``tests.export.tensorrt.rtx``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.export.tensorrt import rtx


@pytest.fixture
def in_rtx(tmp_path: Path) -> Callable[..., Any]:
    """Call a function of ``tests.export.tensorrt.rtx_worker``; whatever it leaves behind fails the test."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def call(function: str, **arguments: Any) -> Any:
        result = rtx.call(scratch, function, **arguments)
        left = [path.name for path in scratch.rglob("*")]
        assert not left, f"{function} left {left}"
        return result

    return call
