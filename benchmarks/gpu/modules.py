"""petrt's compiled modules for this GPU: those that lie in the sources if they load and fit, else built.

    python -m benchmarks.gpu.modules --work build/gpu

Only this GPU's own architecture is compiled. Modules that were built here count as fitting while the sources
in csrc/ stay as they were; of modules that came with the sources nothing is known but that they load.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu import needs

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "petrt"
# In a process of its own: a module that is replaced after it was imported would stay the old one.
LOAD = """
import json, petrt._core, petrt._cuda
print(json.dumps([petrt._core.__version__, list(petrt._cuda.architectures), petrt._cuda.__file__]))
"""


def digest() -> str:
    """Of everything the modules are made of, and of the Python they are made for."""
    total = hashlib.sha256(f"{sys.version_info[:2]} {sys.implementation.cache_tag}".encode())
    sources = [p for p in (ROOT / "csrc").rglob("*") if p.is_file()]
    for path in (ROOT / "CMakeLists.txt", *sorted(sources)):
        total.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


def unfit(architecture: str, note: Path) -> str | None:
    """Why the modules that are there cannot be used; None if they can."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", LOAD],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["they do not load"])[-1]
    version, architectures, where = json.loads(done.stdout)
    if Path(where).resolve().parent != PACKAGE.resolve():
        return f"Python takes them from {where}"
    if architecture not in architectures:
        return f"they are for {', '.join(architectures)}, not for {architecture}"
    if version != project_version():
        return f"they are of version {version}"
    if note.exists() and json.loads(note.read_text())["sources"] != digest():
        return "the sources changed since they were built"
    return None


def project_version() -> str:
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if line.startswith("version = "):
            return line.split('"')[1]
    raise ValueError("pyproject.toml tells no version")


def build(architecture: str, work: Path) -> int:
    """Compile and put the modules into python/petrt; the exit code of the command that failed."""
    if shutil.which("nvcc") is None:
        print("no nvcc on PATH or in $CUDA_HOME/bin", file=sys.stderr)
        return 1
    import pybind11

    tree = work / "cmake"
    ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
    commands = [
        [
            "cmake",
            "-S",
            str(ROOT),
            "-B",
            str(tree),
            *ninja,
            "-DPETRT_CUDA=ON",
            f"-DCMAKE_CUDA_ARCHITECTURES={architecture}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ],
        ["cmake", "--build", str(tree), "--parallel", str(os.cpu_count() or 1)],
        ["cmake", "--install", str(tree), "--prefix", str(PACKAGE.parent)],
    ]
    for command in commands:
        print("$", *command, flush=True)
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            return code
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gpu")
    parser.add_argument("--architecture", help="such as 90; default this GPU's")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    architecture = options.architecture
    if architecture is None:
        architecture = "{}{}".format(*needs.first_gpu().compute_capability)
    note = options.work / "modules.json"
    why = unfit(architecture, note)
    if why is None:
        print(f"the modules that are there fit {architecture}")
        return 0
    print(f"building for {architecture}: {why}", flush=True)
    code = build(architecture, options.work)
    if code == 0:
        note.write_text(json.dumps({"sources": digest()}))
        why = unfit(architecture, note)
        if why is not None:
            print(f"built, and still unfit: {why}", file=sys.stderr)
            return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
