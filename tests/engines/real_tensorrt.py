"""TensorRT itself on a machine without a GPU, put together from public wheels.

``onnxruntime-ep-nv-tensorrt-rtx-cu13`` brings the library and the ONNX parser of TensorRT-RTX,
``tensorrt-cu13-bindings`` the Python bindings. They fit together under the names that the bindings
look for. Such a TensorRT builds real plans; it cannot load them without a driver.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# These bindings are TensorRT's: they lack the calls by which TensorRT-RTX is told its targets, and the
# library then builds for all GPUs it knows.
MODULE = """
import enum

from tensorrt_bindings import *
from tensorrt_bindings import __version__

ComputeCapability = enum.Enum("ComputeCapability", ["SM86", "SM89", "SM120"])
IBuilderConfig.num_compute_capabilities = property(lambda self: 0, lambda self, count: None)
IBuilderConfig.set_compute_capability = lambda self, capability, index: True
"""
STUB = 'extern "C" int initLibNvInferPlugins(void*, const char*) { return 1; }\n'


@pytest.fixture(scope="session")
def tensorrt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of libraries and of a module ``tensorrt_rtx``; skipped where the wheels are absent."""
    spec = importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx")
    compiler = shutil.which("g++")
    if spec is None or not spec.origin or not compiler:
        pytest.skip("needs the wheel onnxruntime-ep-nv-tensorrt-rtx-cu13 and g++")
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("needs the wheel tensorrt-cu13-bindings")
    wheel, folder = Path(spec.origin).parent, tmp_path_factory.mktemp("tensorrt")
    library = next(wheel.glob("libtensorrt_rtx.so.*"))
    parser = next(wheel.glob("libtensorrt_onnxparser_rtx.so.*"))
    (folder / "libnvinfer.so.11").symlink_to(library)
    (folder / "libtensorrt_rtx.so.1").symlink_to(library)
    (folder / "libnvonnxparser.so.11").symlink_to(parser)
    (folder / "stub.cc").write_text(STUB)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", "libnvinfer_plugin.so.11", "stub.cc"],
        cwd=folder, check=True,
    )  # fmt: skip
    (folder / "tensorrt_rtx").mkdir()
    (folder / "tensorrt_rtx" / "__init__.py").write_text(MODULE)
    return folder


def run_with_tensorrt(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Python with that TensorRT; ``environment`` on top."""
    paths = {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
