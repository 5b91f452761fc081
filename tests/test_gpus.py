"""The questions to the driver, against libraries that stand in for libcuda.so.1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stub_cuda import TWO_GPUS, compile_libcuda

ASK = """
import json
from petrt import gpus
found = [[g.index, g.name, g.compute_capability, g.memory_bytes] for g in gpus.list_gpus()]
print(json.dumps([found, gpus.why_none(), gpus.cuda_version(), gpus.driver_version()]))
"""


def ask(folder: Path) -> list:
    """GPUs, reason, CUDA version and driver as a fresh process with ``folder``'s libcuda sees them."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_two_gpus_are_listed_in_the_drivers_order(tmp_path):
    found, reason, cuda, driver = ask(compile_libcuda(tmp_path, TWO_GPUS))
    assert found == [[0, "NVIDIA H100 80GB HBM3", [9, 0], 85 * 10**9],
                     [1, "NVIDIA GeForce RTX 4090", [8, 9], 25 * 10**9]]  # fmt: skip
    assert reason is None
    assert cuda == [13, 0]
    assert driver


@pytest.mark.skipif(
    any(Path(p).exists() for p in ("/sys/module/nvidia/version", "/proc/driver/nvidia/version")),
    reason="a real driver tells its own release",
)
def test_driver_release_is_read_from_the_librarys_file_name(tmp_path):
    library = compile_libcuda(tmp_path, TWO_GPUS) / "libcuda.so.1"
    assert ask(tmp_path)[3] == "CUDA 13.0"
    library.rename(tmp_path / "libcuda.so.580.65.06")
    library.symlink_to("libcuda.so.580.65.06")
    assert ask(tmp_path)[3] == "580.65.06"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (100, "the NVIDIA driver shows no GPU"),
        (803, "the NVIDIA driver fails: cuInit: CUDA_ERROR_803 (803): as told by the stub"),
    ],
)
def test_a_driver_that_cannot_start_says_why(tmp_path, code, reason):
    found, why, cuda, _ = ask(compile_libcuda(tmp_path, f"#define INIT {code}"))
    assert found == []
    assert why == reason
    assert cuda == [13, 0]


def test_a_driver_with_no_visible_gpu(tmp_path):
    assert ask(compile_libcuda(tmp_path, "#define COUNT 0"))[:2] == [
        [],
        "the NVIDIA driver shows no GPU",
    ]


def test_a_device_that_fails_is_an_answer_too(tmp_path):
    found, why, *_ = ask(compile_libcuda(tmp_path, "#define DEVICE 999"))
    assert found == []
    assert "cuDeviceGet: CUDA_ERROR_999 (999)" in why


def test_a_library_without_the_functions(tmp_path):
    found, why, cuda, driver = ask(compile_libcuda(tmp_path, "#define EMPTY"))
    assert (found, cuda, driver) == ([], None, None)
    assert "no cuDriverGetVersion" in why


def test_a_file_that_is_no_library(tmp_path):
    (tmp_path / "libcuda.so.1").write_text("not a library")
    found, why, *_ = ask(tmp_path)
    assert found == []
    assert why.startswith("libcuda.so.1 cannot be loaded: ")


def test_no_library(tmp_path):
    found, why, cuda, driver = ask(tmp_path)
    if why is None:
        pytest.skip("this machine has a driver")
    assert (found, cuda, driver) == ([], None, None)
    assert why == "no NVIDIA driver: libcuda.so.1 not found"
