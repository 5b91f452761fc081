"""Whether this Python has what benchmarks/gpu.sh needs, in versions that fit together.

    python -m benchmarks.gpu.needs                  # names what is missing, exit code 1
    python -m benchmarks.gpu.needs --wheels DIR     # the wheels of DIR that fill the gaps, one a line
    python -m benchmarks.gpu.needs --name           # a file name for the first GPU

Nothing of petrt is imported, nothing is installed. Requirements are pyproject.toml's own, and what the
packages themselves require: pydantic, say, takes one version of pydantic_core alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

try:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name, parse_wheel_filename
except ModuleNotFoundError:  # pip's own copy
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[2]
# Of pyproject.toml's dependencies, what the GPU's path imports.
USED = (
    "numpy",
    "scipy",
    "nibabel",
    "onnx",
    "pydantic",
    "filelock",
    "platformdirs",
    "safetensors",
    "scikit-image",
)
IMPORTED_AS = {"scikit-image": "skimage"}
BESIDE = ("torch>=2.6", "onnxruntime>=1.20", "nvidia-ml-py", "pybind11>=2.13.6", "pytest>=8")
WANTED = {
    "triton": "compiled networks",
    "cupy": "the spectrum guide's FFT on the GPU",
    "pydicom": "DICOM",
    "typer": "the command petrt",
    "rich": "the command petrt",
    "hypothesis": "tests of the CPU's operations",
}
# A distribution may come under another name: CuPy's tells the CUDA it is built for.
ALIASES = {
    "cupy": ("cupy", "cupy-cuda13x", "cupy-cuda12x"),
    "triton": ("triton", "pytorch-triton"),
    "nvidia-ml-py": ("nvidia-ml-py", "pynvml"),
}
# What a missing package brings with it, where its own metadata is not at hand to say so.
BRINGS = {
    "pydantic": ("pydantic-core", "annotated-types", "typing-inspection", "typing-extensions>=4.16")
}


@dataclass(frozen=True)
class Found:
    """A distribution that is installed or lies in a folder as a wheel."""

    version: str
    requires: tuple[str, ...]
    wheel: Path | None = None


Find = Callable[[str], "Found | None"]


def installed(name: str) -> Found | None:
    """What Python would import, the first on its path."""
    for alias in ALIASES.get(name, (name,)):
        try:
            it = importlib.metadata.distribution(alias)
        except importlib.metadata.PackageNotFoundError:
            continue
        return Found(it.version, tuple(it.requires or ()))
    return None


def wheels_in(folder: Path, fits: Callable[[Iterable[Any]], bool]) -> dict[str, list[Found]]:
    """The wheels of ``folder`` that ``fits`` accepts by their tags, by canonical name, newest first."""
    found: dict[str, list[tuple[Any, Found]]] = {}
    for path in sorted(folder.glob("*.whl")):
        name, version, _, tags = parse_wheel_filename(path.name)
        if not fits(tags):
            continue
        with zipfile.ZipFile(path) as archive:
            member = next(m for m in archive.namelist() if m.endswith(".dist-info/METADATA"))
            headers = HeaderParser().parsestr(archive.read(member).decode())
        requires = tuple(headers.get_all("Requires-Dist") or ())
        found.setdefault(str(name), []).append((version, Found(str(version), requires, path)))
    return {
        name: [one for _, one in sorted(each, key=lambda e: e[0], reverse=True)]
        for name, each in found.items()
    }


def fits_here(tags: Iterable[Any]) -> bool:
    """Whether a wheel of these tags can be installed into this Python."""
    try:
        from packaging.tags import sys_tags
    except ModuleNotFoundError:
        from pip._vendor.packaging.tags import sys_tags
    here = {str(tag) for tag in sys_tags()}
    return any(str(tag) in here for tag in tags)


def roots() -> list[str]:
    """The requirements that everything else follows from."""
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.M | re.S)
    named = re.findall(r'^\s*"([^"]+)"', block[1] if block else "", re.M)
    mine = [each for each in named if canonicalize_name(Requirement(each).name) in USED]
    return [*mine, *BESIDE]


def resolve(
    wanted: Iterable[str], find: Find, wheels: dict[str, list[Found]]
) -> tuple[list[str], list[Path]]:
    """Requirements that nothing here meets, and the wheels to install for those that something does.

    A package that is there is looked into as well: what it requires may be absent or too old. A wheel
    then fills the gap; without one it is left to ``broken`` whether the package works all the same.
    """
    missing: dict[str, None] = {}
    chosen: dict[str, Found] = {}
    looked_into: set[tuple[str, str]] = set()
    queue = [(each, True) for each in wanted]
    while queue:
        text, must = queue.pop(0)
        try:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
        except ValueError:  # metadata that another tool wrote its own way
            continue
        name = canonicalize_name(requirement.name)
        candidates = [chosen.get(name), find(name), *wheels.get(name, [])]
        meets = requirement.specifier
        one = next((c for c in candidates if c and meets.contains(c.version, True)), None)
        if one is None and not must:
            continue
        if one is None:
            missing[f"{name}{meets}"] = None
            queue.extend((each, True) for each in BRINGS.get(name, ()))
            continue
        if one.wheel is not None:
            chosen[name] = one
        if (name, one.version) not in looked_into:
            looked_into.add((name, one.version))
            queue.extend((each, one.wheel is not None) for each in one.requires)
    return list(missing), [one.wheel for one in chosen.values() if one.wheel is not None]


def choose(folder: Path) -> tuple[list[str], list[Path]]:
    """What stays missing with the wheels of ``folder``, and those of them to install.

    Wheels of packages that are here and fit are none of them: the machine's own have precedence.
    """
    wheels = wheels_in(folder, fits_here)
    missing, chosen = resolve(roots(), installed, wheels)
    for name in WANTED:
        if installed(name) is None and name in wheels:
            more, also = resolve([name], installed, wheels)
            chosen += [] if more else [each for each in also if each not in chosen]
    return missing, chosen


def broken() -> str | None:
    """Why what is there cannot be imported; None if it can."""
    names = [IMPORTED_AS.get(name, name) for name in USED]
    code = f"import {', '.join(names)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it ends"])[-1]


def download(missing: Iterable[str]) -> str:
    """The command that fetches the wheels, for this Python, on a machine with a network."""
    major, minor = sys.version_info[:2]
    system = platform.machine()
    platforms = [f"manylinux{tag}_{system}" for tag in ("_2_28", "2014", "_2_17")]
    return " ".join(
        [
            "pip download --dest wheels --only-binary :all:",
            f"--python-version {major}.{minor} --implementation cp --abi cp{major}{minor}",
            *(f"--platform {each}" for each in platforms),
            *(shlex.quote(each) for each in missing),
        ]
    )


def first_gpu() -> Any:
    """petrt.hardware.gpus, which needs nothing else of petrt, before petrt is built."""
    path = ROOT / "python" / "petrt" / "hardware" / "gpus.py"
    spec = importlib.util.spec_from_file_location("gpus", path)
    assert spec is not None
    assert spec.loader is not None
    gpus = importlib.util.module_from_spec(spec)
    sys.modules["gpus"] = gpus
    spec.loader.exec_module(gpus)
    found = gpus.list_gpus()
    if not found:
        sys.exit(f"no GPU: {gpus.why_none()}")
    return found[0]


def file_name(name: str) -> str:
    """A GPU's name as part of a file's."""
    return re.sub(r"\W+", "_", name.lower())


def report(missing: list[str], optional: list[str]) -> None:
    """What is missing, and how to get it."""
    for name in optional:
        print(f"not here, left out: {name} ({WANTED[name]})")
    if not missing:
        return
    print(f"missing Python packages: {', '.join(missing)}")
    print(f"where there is a network:\n  {download(missing)}")
    print("then: benchmarks/gpu.sh --wheels wheels")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", action="store_true", help="print a file name for the first GPU")
    parser.add_argument("--architecture", action="store_true", help="print its architecture")
    parser.add_argument("--wheels", type=Path, help="print the wheels of this folder to install")
    options = parser.parse_args(arguments)
    if options.name:
        print(file_name(first_gpu().name))
        return 0
    if options.architecture:
        print("{}{}".format(*first_gpu().compute_capability))
        return 0
    if options.wheels:
        missing, chosen = choose(options.wheels)
        print("\n".join(map(str, chosen)))
    else:
        missing, _ = resolve(roots(), installed, {})
        report(missing, [name for name in WANTED if installed(name) is None])
        if not missing and (why := broken()):
            print(f"what is there does not work: {why}")
            return 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
