"""TensorRT for RTX out of two public wheels, to build real plans on a machine without a GPU.

One wheel carries the library and its ONNX parser, the other Python bindings that expect them under
other names. They meet in a private folder of links, with a stub for the plugin library that nobody
calls, in a process of their own whose loader looks there first. Plans can be built, not loaded: that
takes a driver.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

LIBRARIES = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
BINDINGS = "tensorrt-cu13-bindings"
LINKS = {
    "libnvinfer.so.11": "libtensorrt_rtx.so.",
    "libtensorrt_rtx.so.1": "libtensorrt_rtx.so.",
    "libnvonnxparser.so.11": "libtensorrt_onnxparser_rtx.so.",
}
STUB = "int initLibNvInferPlugins(void *logger, const char *name) { return 1; }\n"
ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 600


def assemble(folder: Path) -> Path:
    """Fill ``folder``; skips the test where a wheel is absent."""
    try:
        files = distribution(LIBRARIES).files or []
        distribution(BINDINGS)
    except PackageNotFoundError as error:
        pytest.skip(f"{error.name} is not installed; the extra 'test' has it on Linux x86-64")
    for link, prefix in LINKS.items():
        # The wheel's own import adds links beside the library; only the real file is in its record.
        found = next(file for file in files if file.name.startswith(prefix))
        (folder / link).symlink_to(Path(str(found.locate())).resolve())
    (folder / "plugin.c").write_text(STUB)
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler, which the package itself needs"
    stub = folder / "libnvinfer_plugin.so.11"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", stub, folder / "plugin.c"], check=True)
    return folder


def call(libraries: Path, scratch: Path, function: str, **arguments: Any) -> Any:
    """``tests.build.rtx_worker.<function>(**arguments)`` in a process that finds the libraries.

    Arguments and result pass as JSON; home and temporary files lie in ``scratch``.
    """
    environment = dict(os.environ, LD_LIBRARY_PATH=str(libraries), CUDA_VISIBLE_DEVICES="")
    environment |= dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "PETRT_CACHE"), str(scratch))
    done = subprocess.run(
        [sys.executable, "-B", "-m", "tests.build.rtx_worker", function],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, f"{function} ended with {done.returncode}:\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])
