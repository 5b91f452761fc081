"""The current GPU of a thread, with a stand-in for the driver that keeps a stack of contexts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from petrt.engines.tensorrt.current_device import CurrentDevice
from petrt.errors import DeviceError

SOURCE = r"""
static const void* stack[8];
static int depth = 0;
extern "C" {
int cuInit(unsigned) { return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return ordinal < 2 ? 0 : 101; }
int cuDevicePrimaryCtxRetain(const void** context, int device) {
  *context = (const void*)(0x1000L + device);
  return 0;
}
int cuCtxPushCurrent_v2(const void* context) { stack[depth++] = context; return 0; }
int cuCtxPopCurrent_v2(const void** context) { *context = stack[--depth]; return 0; }
long current(void) { return depth ? (long)stack[depth - 1] : 0; }
}
"""

CODE = """
import ctypes
from petrt.engines.tensorrt.current_device import CurrentDevice
from petrt.errors import DeviceError
driver = ctypes.CDLL("libcuda.so.1")
driver.current.restype = ctypes.c_long
with CurrentDevice(0):
    one = CurrentDevice(1)
    assert driver.current() == 0x1000
    for _ in range(2):
        with one:
            assert driver.current() == 0x1001
    try:
        with one:
            raise KeyError
    except KeyError:
        pass
    assert driver.current() == 0x1000
assert driver.current() == 0
try:
    CurrentDevice(2)
except DeviceError as error:
    print(error)
"""


def test_the_device_is_current_inside_and_the_earlier_one_again_after(tmp_path: Path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    (tmp_path / "driver.cc").write_text(SOURCE)
    command = [compiler, "-shared", "-fPIC", "-o", "libcuda.so.1", "driver.cc"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "cuDeviceGet: error 101" in done.stdout


def test_no_driver_is_an_error_of_the_device(monkeypatch):
    monkeypatch.setattr("petrt.engines.tensorrt.current_device.LIBRARY", "libabsent.so.1")
    with pytest.raises(DeviceError, match=r"libabsent.so.1 cannot be loaded"):
        CurrentDevice(0)
