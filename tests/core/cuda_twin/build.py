"""Builds petrt._cuda from its own sources against the CUDA runtime on host memory that lies here.

The module behaves as on a GPU whose work is done at the last moment: see cuda_runtime_api.h. Besides what
_cuda.pyi says it has ``host_call(stream, callable)``, which enqueues a Python call, ``pending(stream)``,
``set_memory(bytes)``, ``set_devices(count)`` (2 from the start) and, on a DeviceArray, ``host``: its memory
as a NumPy array, bfloat16 as uint16.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pybind11

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CSRC = ROOT / "csrc"
# -ffp-contract=off as in CMakeLists.txt, or sums and products would not be the bits of _core.
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"]


def compiler() -> str | None:
    """A C++ compiler, or None."""
    return shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")


def sources() -> list[Path]:
    """What goes into the module; all else there is headers."""
    found = [*CSRC.glob("cuda/*.cc"), *CSRC.glob("cuda/*.cu"), *CSRC.glob("bindings/cuda_*.cc")]
    return sorted([*found, *HERE.glob("*.cc")])


def command() -> list[str]:
    """The compiler and its flags, without a source."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    version = found[1] if found else ""
    system = [sysconfig.get_path("include"), pybind11.get_include()]
    include = [f"-I{HERE}", f"-I{CSRC / 'include'}"]
    defines = [f'-DPETRT_VERSION="{version}"', '-DPETRT_CUDA_ARCHITECTURES="twin"']
    return [str(compiler()), *FLAGS, *defines, *include, *(f"-isystem{path}" for path in system)]


def digest() -> str:
    """Of everything that the module depends on."""
    total = hashlib.sha256("\0".join(command()).encode())
    for path in sorted([*CSRC.rglob("*.h"), *HERE.glob("*.h"), *sources()]):
        total.update(path.name.encode() + path.read_bytes())
    total.update(pybind11.__version__.encode())
    return total.hexdigest()[:20]


def run(arguments: list[str]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stderr}")


def compile_all(folder: Path, target: Path) -> None:
    """Compile and link into ``target``; the bindings as one file, since pybind11 costs most of the time."""
    bindings = [source for source in sources() if source.name.startswith("cuda_")]
    together = folder / "bindings.cc"
    together.write_text("".join(f'#include "{source}"\n' for source in bindings))
    parts = [together, *(source for source in sources() if source not in bindings)]
    objects = [folder / f"{part.name}.o" for part in parts]

    def compile_one(source: Path, into: Path) -> None:
        run([*command(), "-x", "c++", "-c", str(source), "-o", str(into)])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, parts, objects))
    partial = folder / "partial.so"
    run([str(compiler()), "-shared", "-pthread", *map(str, objects), "-o", str(partial)])
    partial.rename(target)


def build(cache: Path) -> Path:
    """The module's file, compiled where ``cache`` does not hold it yet; safe to call in parallel."""
    folder = cache / digest()
    target = folder / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        compile_all(folder, target)
    return target


def host(self: Any) -> np.ndarray:
    """The memory of a DeviceArray; it holds what the streams have done so far."""

    class Memory:
        owner = self
        __array_interface__ = self.__cuda_array_interface__

    if self.nbytes == 0:
        return np.empty(self.shape, self.__cuda_array_interface__["typestr"])
    return np.asarray(Memory())


def load(path: Path) -> Any:
    """The module, with what only the twin has."""
    loader = importlib.machinery.ExtensionFileLoader("petrt_twin._cuda", str(path))
    spec = importlib.util.spec_from_file_location("petrt_twin._cuda", path, loader=loader)
    assert spec is not None
    module: Any = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    library = ctypes.PyDLL(str(path))
    call, pending = library.twin_host_call, library.twin_pending
    call.argtypes, pending.argtypes = [ctypes.c_size_t, ctypes.py_object], [ctypes.c_size_t]
    pending.restype = ctypes.c_size_t
    library.twin_set_memory.argtypes = [ctypes.c_size_t]

    def host_call(stream: Any, work: Callable[[], object]) -> None:
        """Enqueue a Python call on ``stream``; what it raises fails the next wait."""
        status = call(stream.handle, work)
        if status != 0:
            raise module.CudaError(f"host_call: error {status}")

    module.host_call = host_call
    module.pending = lambda stream: pending(stream.handle)
    module.set_memory = library.twin_set_memory
    module.set_devices = library.twin_set_devices
    module.DeviceArray.host = property(host)
    return module
