"""Compiled modules: used if they load and fit this GPU, else built for it alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import modules as gpu_modules


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder python/petrt whose two modules are plain Python files."""
    folder = tmp_path / "python" / "petrt"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "_core.py").write_text(f"__version__ = {gpu_modules.project_version()!r}\n")
    (folder / "_cuda.py").write_text("architectures = ('80', '90')\n")
    monkeypatch.setattr(gpu_modules, "PACKAGE", folder)
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    return folder


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "work" / "modules.json"


def test_modules_that_load_and_fit_are_used_as_they_are(package, note, monkeypatch):
    monkeypatch.setattr(gpu_modules, "build", lambda *a: pytest.fail("built again"))
    assert gpu_modules.main(["--work", str(note.parent), "--architecture", "90"]) == 0
    note.write_text(json.dumps({"sources": gpu_modules.digest()}))
    assert gpu_modules.unfit("90", note) is None


def test_why_modules_do_not_fit(package, note):
    assert gpu_modules.unfit("120", note) == "they are for 80, 90, not for 120"
    note.parent.mkdir()
    note.write_text(json.dumps({"sources": "of another day"}))
    assert gpu_modules.unfit("90", note) == "the sources changed since they were built"
    note.unlink()
    (package / "_core.py").write_text("__version__ = '0.0.1'\n")
    assert gpu_modules.unfit("90", note) == "they are of version 0.0.1"
    (package / "_cuda.py").write_text("raise ImportError('built for another Python')\n")
    assert gpu_modules.unfit("90", note) == "ImportError: built for another Python"
    (package / "_cuda.py").unlink()
    assert "_cuda" in gpu_modules.unfit("90", note)


def test_modules_of_another_place_are_not_taken_for_these(package, note, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "petrt"
    elsewhere.mkdir(parents=True)
    monkeypatch.setattr(gpu_modules, "PACKAGE", elsewhere)
    assert gpu_modules.unfit("90", note).startswith("Python takes them from ")


TOOL = """#!{python}
import pathlib, sys
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + chr(10))
if "--install" in sys.argv:
    pathlib.Path({cuda!r}).write_text("architectures = ('120',)" + chr(10))
sys.exit({code} if "--build" in sys.argv else 0)
"""


@pytest.fixture
def tools(package, tmp_path, monkeypatch):
    """cmake and nvcc that write down what they are asked; cmake "installs" a module for 120."""

    def make(code: int) -> Path:
        folder, log = tmp_path / "bin", tmp_path / "asked"
        folder.mkdir(exist_ok=True)
        for name in ("cmake", "nvcc", "ninja"):
            path = folder / name
            path.write_text(
                TOOL.format(
                    python=sys.executable, log=str(log), code=code, cuda=str(package / "_cuda.py")
                )
            )
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return log

    return make


def test_only_the_gpus_own_architecture_is_built(tools, note):
    log = tools(0)
    assert gpu_modules.main(["--work", str(note.parent), "--architecture", "120"]) == 0
    configure, compile_, _ = log.read_text().splitlines()
    assert "-DCMAKE_CUDA_ARCHITECTURES=120" in configure
    assert f"-DPython_EXECUTABLE={sys.executable}" in configure
    assert "--parallel" in compile_
    assert gpu_modules.unfit("120", note) is None
    assert json.loads(note.read_text())["sources"] == gpu_modules.digest()


def test_a_build_that_fails_is_told_and_leaves_no_note(tools, note):
    tools(2)
    assert gpu_modules.main(["--work", str(note.parent), "--architecture", "120"]) == 2
    assert not note.exists()


def test_a_build_that_does_not_fit_after_all_is_a_failure(tools, note):
    tools(0)
    assert gpu_modules.main(["--work", str(note.parent), "--architecture", "121"]) == 1
