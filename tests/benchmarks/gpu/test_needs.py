"""What a machine lacks for a GPU run, against made-up sites and wheels."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.gpu import needs, packages_step

# A machine with much, but not all.
THERE = {
    "numpy": ("2.3.1", []),
    "scipy": ("1.16", ["numpy>=1.25"]),
    "torch": ("2.11.0+cu130", []),
    "onnx": ("1.20", ["numpy>=1.23", "protobuf>=4"]),
    "protobuf": ("6.33", []),
    "onnxruntime": ("1.24", ["protobuf"]),
    "nvidia-ml-py": ("13.590", []),
    "filelock": ("3.20", []),
    "pytest": ("9.0", ["packaging"]),
    "packaging": ("25.0", []),
    "pybind11": ("3.0", []),
    "safetensors": ("0.7", []),
    "scikit-image": ("0.25", []),
    "typing-extensions": ("4.12.2", []),
}


def site(**more: tuple[str, list[str]]):
    packages = THERE | {name.replace("_", "-"): each for name, each in more.items()}

    def find(name: str) -> needs.Found | None:
        if name not in packages:
            return None
        version, requires = packages[name]
        return needs.Found(version, tuple(requires))

    return find


def wheel(folder: Path, name: str, version: str, requires=(), tag: str = "py3-none-any") -> Path:
    """A wheel with metadata and one module."""
    folder.mkdir(exist_ok=True)
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-{tag}.whl"
    info = f"{module}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}.py", f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


PYDANTIC = (
    "2.14.4",
    [
        "annotated-types>=0.6",
        "pydantic-core==2.50.5",
        "typing-extensions>=4.16.0",
        "typing-inspection>=0.4.4",
        "email-validator>=2; extra == 'email'",
    ],
)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    wheel(folder, "pydantic", *PYDANTIC)
    wheel(folder, "pydantic-core", "2.50.5", ["typing-extensions>=4.16.0"])
    wheel(folder, "pydantic-core", "2.60.0")
    wheel(folder, "annotated-types", "0.8.0")
    wheel(folder, "typing-inspection", "0.4.5", ["typing-extensions>=4.15"])
    wheel(folder, "typing-extensions", "4.16.0")
    wheel(folder, "nibabel", "5.4.2", ["numpy>=1.25", "packaging>=20"])
    wheel(folder, "platformdirs", "4.14.8")
    wheel(folder, "numpy", "2.4.9")
    wheel(folder, "nibabel", "6.0", tag="cp27-cp27m-win32")
    return folder


def names(paths: list[Path]) -> set[str]:
    return {path.name.rsplit("-", 3)[0] for path in paths}


def test_the_roots_are_those_of_the_package():
    roots = needs.roots()
    assert {"numpy>=2", "pydantic>=2.7", "nibabel>=5.3", "torch>=2.6"} <= set(roots)
    assert len(roots) == len(needs.USED) + len(needs.BESIDE)
    assert not any(each.startswith(("pydicom", "typer", "matplotlib")) for each in roots)


def test_without_wheels_everything_absent_is_named_with_what_it_brings():
    missing, chosen = needs.resolve(needs.roots(), site(), {})
    assert set(missing) == {
        "nibabel>=5.3",
        "pydantic>=2.7",
        "platformdirs>=4",
        "pydantic-core",
        "annotated-types",
        "typing-inspection",
        "typing-extensions>=4.16",
    }
    assert chosen == []


def test_wheels_fill_the_gaps_in_the_versions_that_fit_together(wheels):
    found = needs.wheels_in(wheels, needs.fits_here)
    missing, chosen = needs.resolve(needs.roots(), site(), found)
    assert missing == []
    assert names(chosen) == {
        "pydantic-2.14.4",
        "pydantic_core-2.50.5",
        "annotated_types-0.8.0",
        "typing_inspection-0.4.5",
        "typing_extensions-4.16.0",
        "nibabel-5.4.2",
        "platformdirs-4.14.8",
    }  # numpy is there; the newer pydantic_core fits no pydantic


def test_a_package_that_is_there_is_asked_what_it_needs(wheels):
    there = site(
        pydantic=PYDANTIC,
        pydantic_core=("2.49.0", []),
        annotated_types=("0.8", []),
        typing_inspection=("0.4.5", []),
        nibabel=("5.4.2", []),
        platformdirs=("4.5", []),
    )
    # Without wheels only a try can tell: another distributor's torch lacks half of what it asks for.
    assert needs.resolve(needs.roots(), there, {}) == ([], [])
    found = needs.wheels_in(wheels, needs.fits_here)
    missing, chosen = needs.resolve(needs.roots(), there, found)
    assert missing == []
    assert names(chosen) == {"pydantic_core-2.50.5", "typing_extensions-4.16.0"}


def test_a_wheel_without_what_it_needs_is_told(wheels):
    (wheels / "pydantic_core-2.50.5-py3-none-any.whl").unlink()
    missing, _ = needs.resolve(needs.roots(), site(), needs.wheels_in(wheels, needs.fits_here))
    assert missing == ["pydantic-core==2.50.5"]


def test_the_command_to_run_elsewhere_names_this_python():
    command = needs.download(["nibabel>=5.3", "pydantic-core==2.50.5"])
    minor = sys.version_info[1]
    assert f"--python-version 3.{minor}" in command
    assert f"--abi cp3{minor}" in command
    assert "manylinux2014_" in command
    assert command.endswith("'nibabel>=5.3' pydantic-core==2.50.5")


def test_packages_that_do_not_fit_together_are_told_by_what_python_says(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "pydantic.py").write_text("raise ImportError('needs another pydantic_core')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert needs.main([]) == 1
    said = capsys.readouterr().out
    assert "does not work: ImportError: needs another pydantic_core" in said


def test_requirements_that_nobody_can_read_are_passed_over():
    there = site(
        nibabel=("5.4", ["numpy (>=1.25", "packaging"]),
        platformdirs=("4", []),
        pydantic=("2.9", []),
    )
    assert needs.resolve(needs.roots(), there, {}) == ([], [])


def test_this_environment_has_all(capsys):
    assert needs.main([]) == 0
    assert "missing" not in capsys.readouterr().out


def test_what_is_missing_is_said_with_the_command(capsys, monkeypatch):
    monkeypatch.setattr(needs, "installed", site())
    assert needs.main([]) == 1
    said = capsys.readouterr().out
    assert "missing Python packages: " in said
    assert "pip download" in said
    assert "not here, left out: cupy" in said
    assert "not here, left out: triton" in said


def test_cupy_is_found_under_the_name_of_its_cuda(monkeypatch):
    import importlib.metadata

    class Here:
        version, requires = "14.0.1", None

    def distribution(name: str):
        if name != "cupy-cuda13x":
            raise importlib.metadata.PackageNotFoundError(name)
        return Here

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    assert needs.installed("cupy") == needs.Found("14.0.1", ())
    assert needs.installed("numpy") is None


def test_only_the_wheels_that_are_needed_are_installed(wheels, tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "installed", site())
    packages_step.install(tmp_path / "site", wheels)
    installed = {path.stem for path in (tmp_path / "site").glob("*.py")}
    assert installed == {
        "pydantic",
        "pydantic_core",
        "annotated_types",
        "typing_inspection",
        "typing_extensions",
        "nibabel",
        "platformdirs",
    }
    code = "import pydantic_core; print(pydantic_core.version)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.stdout.strip() == "2.50.5"


def test_a_wanted_package_is_taken_where_its_wheel_lies(wheels, monkeypatch):
    monkeypatch.setattr(needs, "installed", site())
    wheel(wheels, "pydicom", "3.0.1")
    wheel(wheels, "typer", "0.20", ["click>=8"])  # click is nowhere
    missing, chosen = needs.choose(wheels)
    assert missing == []
    assert "pydicom-3.0.1" in names(chosen)
    assert "typer-0.20" not in names(chosen)
