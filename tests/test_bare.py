"""petrt as ``pip install petrt`` alone leaves it: without ONNX Runtime and every other optional package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from petrt.inference.reconstructor import Reconstructor
from tests.helpers import write_nifti

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
OPTIONAL = (
    *("onnxruntime", "openvino", "torch", "accelerate", "tensorboard", "cupy", "pynvml"),
    *("tensorrt", "tensorrt_rtx", "highdicom", "jpeg_ls"),
)
# As if nothing of these names lay on Python's path.
HIDE = """
import importlib.machinery, sys
find = importlib.machinery.PathFinder.find_spec
def hiding(name, path=None, target=None):
    return None if name.split(".")[0] in hidden else find(name, path, target)
importlib.machinery.PathFinder.find_spec = hiding
"""
# On a machine with a card the GPU's distribution is named.
COMMAND = r"pip install 'petrt\[onnxruntime(-gpu)?\]'"


def bare(
    arguments: list[str], folder: Path, hidden: tuple[str, ...] = OPTIONAL
) -> subprocess.CompletedProcess[str]:
    """A petrt command in a process that finds none of ``hidden``."""
    code = f"hidden = {hidden!r}\n{HIDE}\n"
    code += f"from petrt.cli.app import run; sys.exit(run({arguments!r}))"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a volume, low.nii."""
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    data = np.random.default_rng(0).random((16, 16, 12)).astype(np.float32)
    write_nifti(tmp_path / "low.nii", data)
    return tmp_path


def test_it_reconstructs_the_same_bits(tiny_bundle, folder):
    arguments = ["reconstruct", "low.nii", "out.nii", "--model", str(tiny_bundle)]
    done = bare([*arguments, "--allow-activity-change"], folder)
    assert done.returncode == 0, done.stderr
    assert "engine: native" in done.stderr
    usual = Reconstructor(tiny_bundle, engine="native", allow_activity_change=True)
    expected = usual(folder / "low.nii").image
    found = nibabel.load(folder / "out.nii")
    np.testing.assert_array_equal(found.get_fdata(), expected.get_fdata())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inspect", "demo"], "identity"),
        (["inspect", "low.nii"], "voxel"),
        (["evaluate", "low.nii", "low.nii"], "NMSE"),
        (["build-engine", "--list"], "engines in"),
        (["flops", "demo"], "denoiser"),
        (["bench", "--dry-run", "--device", "cpu"], "absent: onnxruntime: ONNX Runtime is not"),
    ],
)
def test_commands_that_need_no_engine_package(folder, arguments, says):
    done = bare(arguments, folder)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_the_doctor_finds_no_fault_in_it(folder):
    done = bare(["doctor"], folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(r"onnxruntime +cpu +missing", done.stdout)
    assert re.search(r"auto picks +native on cpu", done.stdout)
    assert re.search(COMMAND, done.stdout)


RECONSTRUCT = ["reconstruct", "low.nii", "out.nii", "--device", "cpu"]
EXPORT = ["export", "run", "-o", "model"]
TRAIN = ["train", "demo", "--data", ".", "--out", "x"]


@pytest.mark.parametrize(
    ("arguments", "hidden", "code", "says"),
    [
        ([*RECONSTRUCT, "--engine", "onnxruntime"], OPTIONAL, 4, f"is not installed; {COMMAND}$"),
        (EXPORT, ("onnxruntime",), 2, f"export needs ONNX Runtime; {COMMAND}$"),
        (EXPORT, OPTIONAL, 2, r"needs PyTorch and ONNX Runtime; .*petrt\[torch,onnxruntime"),
        (["import-official", "x", "-o", "y"], OPTIONAL, 2, r"petrt\[torch\]"),
        (["build-engine", "demo", "--gpu", "rtx40"], OPTIONAL, 4, r"petrt\[tensorrt-rtx\]"),
        (TRAIN, OPTIONAL, 2, r"needs PyTorch and accelerate; .*petrt\[train\]"),
        (TRAIN, ("accelerate",), 2, r"train needs accelerate; .*petrt\[train\]"),
    ],
)
def test_what_needs_more_says_in_one_line_what(folder, arguments, hidden, code, says):
    done = bare(arguments, folder, hidden)
    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    assert re.search(says, done.stderr), done.stderr
    assert {path.name for path in folder.iterdir()} <= {"low.nii", "cache"}


EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def brought_by(name: str) -> set[str]:
    """Names of the packages that an extra of petrt asks for."""
    found: set[str] = set()
    for line in EXTRAS["optional-dependencies"][name]:
        package, extras = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", line).groups()
        parts = extras.split(",") if package == "petrt" else []
        found |= set().union(*map(brought_by, parts)) if parts else {package}
    return found


def test_a_gpu_user_never_gets_the_onnxruntime_of_the_cpu():
    """The two write the same files: only who asks for the one of the CPU, or develops petrt, gets it."""
    with_cpu = {n for n in EXTRAS["optional-dependencies"] if "onnxruntime" in brought_by(n)}
    assert with_cpu == {"onnxruntime", "test", "dev"}
    with_gpu = {n for n in EXTRAS["optional-dependencies"] if "onnxruntime-gpu" in brought_by(n)}
    assert with_gpu == {"onnxruntime-gpu"}
    core = " ".join(EXTRAS["dependencies"])
    assert not re.search(r"onnxruntime|torch|nvidia|cupy", core)


def test_every_extra_that_is_named_somewhere_exists():
    names: set[str] = set()
    python = (path for folder in ("python", "export") for path in (ROOT / folder).glob("**/*.py"))
    for path in (*python, *ROOT.glob("*.md"), ROOT / "Makefile"):
        for found in re.findall(r"(?:petrt|'\.)\[([a-z0-9,-]+)\]'", path.read_text()):
            names |= set(found.split(","))
    calls = (ROOT / "python" / "petrt" / "hardware" / "packages.py").read_text()
    names |= set(re.findall(r"\bextra\(\"([a-z-]+)\"", calls))
    assert {"openvino", "torch", "train", "cuda"} <= names
    assert names <= set(EXTRAS["optional-dependencies"])
