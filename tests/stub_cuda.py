"""A stand-in for the driver's libcuda.so.1, compiled with the behaviour a test asks for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TWO_GPUS = "#define COUNT 2"

# INIT: what cuInit returns. COUNT: number of GPUs. DEVICE: what cuDeviceGet returns.
# EMPTY: no function at all.
SOURCE = r"""
#include <cstdio>
#ifndef INIT
#define INIT 0
#endif
#ifndef COUNT
#define COUNT 1
#endif
#ifndef DEVICE
#define DEVICE 0
#endif
#ifndef EMPTY
extern "C" {
int cuInit(unsigned) { return INIT; }
int cuDriverGetVersion(int* v) { *v = 13000; return 0; }
int cuDeviceGetCount(int* n) { if (INIT) return 3; *n = COUNT; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return DEVICE; }
int cuDeviceGetName(char* name, int size, int device) {
  std::snprintf(name, size, device ? "NVIDIA GeForce RTX 4090" : "NVIDIA H100 80GB HBM3");
  return 0;
}
int cuDeviceTotalMem_v2(unsigned long* bytes, int device) {
  *bytes = device ? 25000000000UL : 85000000000UL;
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  const int capability[2][2] = {{9, 0}, {8, 9}};
  *value = capability[device][attribute - 75];
  return 0;
}
int cuGetErrorName(int code, const char** text) {
  static char name[64];
  std::snprintf(name, sizeof name, "CUDA_ERROR_%d", code);
  *text = name;
  return 0;
}
int cuGetErrorString(int, const char** text) { *text = "as told by the stub"; return 0; }
}
#endif
"""


def compile_libcuda(folder: Path, behaviour: str) -> Path:
    """Compile the stand-in into ``folder``, for LD_LIBRARY_PATH; ``behaviour``: macros of SOURCE."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    source = folder / "libcuda.cc"
    source.write_text(f"{behaviour}\n{SOURCE}")
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(source)]
    subprocess.run(command, check=True)
    return folder
