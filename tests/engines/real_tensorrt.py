"""TensorRT itself on a machine without a GPU (see tests.build.rtx), as the module ``tensorrt_rtx``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.build.rtx import ROOT, TIMEOUT, assemble

# The bindings are TensorRT's: they lack the calls by which TensorRT-RTX is told its targets, and the
# library then builds for all GPUs it knows.
MODULE = """
import enum

from tensorrt_bindings import *
from tensorrt_bindings import __version__

ComputeCapability = enum.Enum("ComputeCapability", ["SM86", "SM89", "SM120"])
IBuilderConfig.num_compute_capabilities = property(lambda self: 0, lambda self, count: None)
IBuilderConfig.set_compute_capability = lambda self, capability, index: True
"""


@pytest.fixture(scope="session")
def tensorrt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libraries and the module in one folder; the test is skipped where the wheels are absent."""
    folder = assemble(tmp_path_factory.mktemp("tensorrt"))
    (folder / "tensorrt_rtx").mkdir()
    (folder / "tensorrt_rtx" / "__init__.py").write_text(MODULE)
    return folder


def environment_with(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a process that finds TensorRT, and no GPU."""
    paths = {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **paths, **variables}


def run_with_tensorrt(
    folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Python in such an environment."""
    return subprocess.run(
        [sys.executable, "-B", *arguments],
        env=environment_with(folder, **variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
