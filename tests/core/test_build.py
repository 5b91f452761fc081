"""What the build promises."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from petrt import _core

ROOT = Path(__file__).resolve().parents[2]

KERNEL = """
#include "petrt/noise.h"
#include "petrt/step.h"
__global__ void all(float* v, petrt::StepCoefs coefs, petrt::NoiseKey key) {
  const float z = petrt::normals4(key, threadIdx.x).z[0];
  const float x0 = petrt::predict_x0(coefs, 1.0f, v[0], v[1]);
  v[0] = petrt::next_r(coefs, v[0], x0, v[2], z);
  petrt::add_sample(petrt::reconstruct(v[3], 1.0f, v[0]), 1.0f, v[4], v[5]);
}
"""


def compile_ptx(folder: Path, source: Path) -> str:
    include = f"-I{ROOT / 'csrc' / 'include'}"
    command = ["nvcc", "-std=c++17", "-fmad=false", "-ptx", include, "-o", "all.ptx", str(source)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "all.ptx").read_text()


needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")


@needs_nvcc
def test_formulas_compile_for_the_gpu(tmp_path: Path) -> None:
    """The formulas of step.h and noise.h are device code as they stand."""
    source = tmp_path / "all.cu"
    source.write_text(KERNEL)
    assert ".entry" in compile_ptx(tmp_path, source)


@needs_nvcc
def test_kernels_read_and_write_four_voxels_at_once(tmp_path: Path) -> None:
    kernels = compile_ptx(tmp_path, ROOT / "csrc" / "cuda" / "elementwise.cu").split(".entry")[1:]
    assert len(kernels) == 5
    for kernel in kernels:
        # The drawing one has its arguments in local memory, where its pointer loses its address space.
        assert re.search(r"st\.(global\.)?v4\.f32", kernel)
    assert sum("ld.global.v4.f32" in kernel for kernel in kernels) == 4  # all but the drawing one


@needs_nvcc
def test_where_there_is_nvcc_the_cuda_module_is_built_for_every_gpu() -> None:
    if "CUDAARCHS" in os.environ:
        pytest.skip("built for chosen GPUs")
    said = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release (\d+)\.(\d+)", said)
    assert release is not None
    newest = ("120",) if (int(release[1]), int(release[2])) >= (12, 8) else ()
    _cuda = importlib.import_module("petrt._cuda")
    assert _cuda.__version__ == _core.__version__
    assert _cuda.architectures == ("80", "86", "89", "90", *newest)


def cuobjdump() -> str | None:
    """Of the toolkit, or of the wheel that the tests install."""
    try:
        files = importlib.metadata.files("nvidia-cuda-cuobjdump") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    packaged = [str(file.locate()) for file in files if file.name == "cuobjdump"]
    return shutil.which("cuobjdump") or next(iter(packaged), None)


@needs_nvcc
@pytest.mark.skipif(cuobjdump() is None, reason="needs cuobjdump")
def test_what_the_cuda_module_holds() -> None:
    _cuda = importlib.import_module("petrt._cuda")
    gpus = {int(number) for number in _cuda.architectures}
    for option, expected in (("--list-elf", gpus), ("--list-ptx", {max(gpus)})):
        command = [str(cuobjdump()), option, str(_cuda.__file__)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert {int(number) for number in re.findall(r"sm_(\d+)", listed)} == expected


def test_without_a_driver_the_cuda_module_imports_and_says_what_lacks() -> None:
    """In a process of its own, where no driver library can be found."""
    if importlib.util.find_spec("petrt._cuda") is None:
        pytest.skip("built without CUDA")
    if ctypes.util.find_library("cuda") is not None:
        pytest.skip("there is a driver")
    code = """
from petrt import _cuda
for call in (_cuda.device_count, _cuda.memory, _cuda.Stream, lambda: _cuda.pinned((3,))):
    try:
        call()
    except _cuda.CudaError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all("no NVIDIA driver was found" in line for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_without_nvcc_the_cpu_part_is_built_or_the_reason_given(tmp_path: Path) -> None:
    """AUTO goes on, ON stops with what to do, anything else is refused."""
    import pybind11

    def configure(value: str) -> subprocess.CompletedProcess[str]:
        command = ["cmake", "-S", str(ROOT), "-B", str(tmp_path / value), f"-DPETRT_CUDA={value}"]
        command += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
        command += [f"-DPython_EXECUTABLE={sys.executable}"]
        broken = os.environ | {"CUDACXX": "/bin/false"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=broken)

    auto = configure("AUTO")
    assert auto.returncode == 0, auto.stderr
    assert "PETRT_CUDA=AUTO: no working nvcc was found; building the CPU part" in auto.stdout
    on = configure("ON")
    assert on.returncode != 0
    assert "PETRT_CUDA=ON: no working nvcc was found" in on.stderr
    assert "PETRT_CUDA: expected AUTO, ON or OFF" in configure("MAYBE").stderr
