"""A stand-in for the driver's libnvidia-ml.so.1, which the real nvidia-ml-py loads, compiled with the
behaviour a test asks for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TWO_GPUS = "#define COUNT 2"

# INIT: what nvmlInit returns. CUDA: what asking for CUDA's version returns. COUNT: number of GPUs.
# FIRST, SECOND: what asking for them returns. MEMORY: what asking for memory returns. MIG: how many
# instances each GPU is divided into. EMPTY: no function at all.
# The first GPU of NVML, an H100, has PCI bus 01; the second, an RTX 4090, has 41.
DEFAULTS = {"INIT": 0, "CUDA": 0, "COUNT": 1, "FIRST": 0, "SECOND": 0, "MEMORY": 0, "MIG": 0}
SOURCE = r"""
#include <cstdio>
#include <cstring>
#ifndef EMPTY
struct Pci {
  char legacy[16];
  unsigned domain, bus, device, id, subsystem;
  char bus_id[32];
};
struct Memory {
  unsigned long long total, free, used;
};
// A GPU's handle is 1 or 2; that of its instance i is 10 * (i + 1) more.
using Handle = unsigned long;
int second(Handle device) { return device % 10 == 2; }

extern "C" {
int nvmlInitWithFlags(unsigned) { return INIT; }
int nvmlShutdown() { return 0; }
const char* nvmlErrorString(int code) {
  return code == 999 ? "Unknown Error\nand a second line" : "as told by the stub";
}
int nvmlSystemGetDriverVersion(char* text, unsigned size) {
  std::snprintf(text, size, "580.65.06");
  return 0;
}
int nvmlSystemGetCudaDriverVersion_v2(int* version) { *version = 13000; return CUDA; }
int nvmlDeviceGetCount_v2(unsigned* count) { *count = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle* device) {
  *device = index + 1;
  return index == 0 ? FIRST : SECOND;
}
int nvmlDeviceGetName(Handle device, char* text, unsigned size) {
  std::snprintf(text, size, "%s%s", second(device) ? "NVIDIA GeForce RTX 4090" : "NVIDIA H100 80GB HBM3",
                device > 9 ? " MIG 1g.10gb" : "");
  return 0;
}
int nvmlDeviceGetUUID(Handle device, char* text, unsigned size) {
  const char* const gpu = second(device) ? "GPU-bbbb-2222" : "GPU-aaaa-1111";
  if (device > 9) std::snprintf(text, size, "MIG-%lu-%s", device / 10 - 1, gpu);
  else std::snprintf(text, size, "%s", gpu);
  return 0;
}
int nvmlDeviceGetCudaComputeCapability(Handle device, int* major, int* minor) {
  if (device > 9) return 3;
  *major = second(device) ? 8 : 9;
  *minor = second(device) ? 9 : 0;
  return 0;
}
int nvmlDeviceGetMemoryInfo(Handle device, Memory* memory) {
  memory->total = device > 9 ? 10000000000ULL * (device / 10)
                             : second(device) ? 25000000000ULL : 85000000000ULL;
  return MEMORY;
}
int nvmlDeviceGetPciInfo_v3(Handle device, Pci* pci) {
  if (device > 9) return 3;
  std::memset(pci, 0, sizeof *pci);
  pci->bus = second(device) ? 0x41 : 0x01;
  std::snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
  return 0;
}
int nvmlDeviceGetMigMode(Handle, unsigned* current, unsigned* pending) {
  *current = *pending = MIG > 0;
  return MIG > 0 ? 0 : 3;  // a GPU that cannot divide does not support the question
}
int nvmlDeviceGetMaxMigDeviceCount(Handle, unsigned* count) { *count = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(Handle device, unsigned index, Handle* instance) {
  *instance = device + 10 * (index + 1);
  return index < MIG ? 0 : 6;
}
}
#endif
"""


def compile_nvml(folder: Path, behaviour: str) -> Path:
    """Compile the stand-in into ``folder``, for LD_LIBRARY_PATH; ``behaviour``: macros of SOURCE."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    source = folder / "nvml.cc"
    usual = (f"#define {k} {v}" for k, v in DEFAULTS.items() if f"#define {k}" not in behaviour)
    source.write_text("\n".join([behaviour, *usual, SOURCE]))
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(source)]
    subprocess.run(command, check=True)
    return folder
