"""TensorRT for RTX in processes of its own: it builds real plans on a machine without a GPU.

Plans can be built, not loaded: that takes a driver. What a process leaves in its home or its temporary
folder can be seen in a scratch folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT = 600

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx is not installed; the extra 'test' has it on Linux x86-64",
)


def environment(scratch: Path, **variables: str) -> dict[str, str]:
    """Of a process that sees no GPU and has ``scratch`` for its home and its temporary files."""
    own = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "PETRT_CACHE"), str(scratch))
    return {**os.environ, **own, "CUDA_VISIBLE_DEVICES": "", **variables}


def run(
    command: list[str], scratch: Path, *, text: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """``command`` with ``text`` for its input, whatever it ends with."""
    place = {"env": environment(scratch, **variables), "cwd": ROOT, "timeout": TIMEOUT}
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, **place)


def python(*arguments: str) -> list[str]:
    """The command of this Python, which leaves no compiled files."""
    return [sys.executable, "-B", *arguments]


def call(scratch: Path, function: str, **arguments: Any) -> Any:
    """``tests.export.tensorrt.rtx_worker.<function>(**arguments)``; arguments and result pass as JSON."""
    command = python("-m", "tests.export.tensorrt.rtx_worker", function)
    done = run(command, scratch, text=json.dumps(arguments))
    assert done.returncode == 0, f"{function} ended with {done.returncode}:\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])
