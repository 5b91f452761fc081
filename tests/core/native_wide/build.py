"""Builds the native kernels of 16 lanes for whatever CPU this is.

The compiler's vectors are of any width: what AVX-512 does in one instruction others do in several. So the
arithmetic of those kernels, their remainders and their packing run here without AVX-512.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.machinery
import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

import pybind11

from tests.core.cuda_twin.build import CSRC, compiler, run

HERE = Path(__file__).resolve().parent
NATIVE = CSRC / "cpu" / "native"
SOURCES = (
    HERE / "module.cc",
    CSRC / "bindings" / "native.cc",
    NATIVE / "program.cc",
    NATIVE / "kernels_avx512.cc",
)
FLAGS = ["-std=c++17", "-DPETRT_X86", "-O1", "-fPIC", "-fvisibility=hidden", "-Wno-psabi"]


def build(cache: Path) -> Path:
    """The module's file, compiled where ``cache`` does not hold it yet; safe to call in parallel."""
    include = [f"-I{CSRC / 'include'}", f"-I{CSRC / 'bindings'}", f"-I{NATIVE}"]
    system = [sysconfig.get_path("include"), pybind11.get_include()]
    command = [str(compiler()), *FLAGS, *include, *(f"-isystem{path}" for path in system)]
    total = hashlib.sha256("\0".join(command).encode())
    for path in sorted([*CSRC.rglob("*.h"), *NATIVE.glob("*.inl"), *SOURCES]):
        total.update(path.name.encode() + path.read_bytes())
    folder = cache / total.hexdigest()[:20]
    target = folder / f"_native_wide{sysconfig.get_config_var('EXT_SUFFIX')}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = folder / "partial.so"
            run([*command, "-shared", "-pthread", *map(str, SOURCES), "-o", str(partial)])
            partial.rename(target)
    return target


def load(path: Path) -> Any:
    loader = importlib.machinery.ExtensionFileLoader("_native_wide", str(path))
    spec = importlib.util.spec_from_file_location("_native_wide", path, loader=loader)
    assert spec is not None
    module: Any = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
