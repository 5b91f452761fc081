"""Which optional packages are installed, told without importing them: importing torch takes seconds.

Versions come from the packages' metadata, CUDA builds from files inside them. What a package says
of itself can be wrong (a folder left over from an uninstall, a wheel without its libraries), so
each answer is one of: absent, broken with the reason, or found.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass, replace
from pathlib import Path

ORT_DISTRIBUTIONS = ("onnxruntime-gpu", "onnxruntime")
CUPY_DISTRIBUTIONS = ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy")
TENSORRT_DISTRIBUTIONS = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
RTX_DISTRIBUTIONS = ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12")


ONNXRUNTIME_CUDA = 'pip uninstall -y onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]"'
OPENVINO = "pip install 'petrt[openvino]'"
NEWEST_CUDA = 13  # that there are wheels for


def tensorrt_command(kind: str, cuda_major: int) -> str:
    """The command that installs ``tensorrt`` or ``tensorrt-rtx`` for a driver's CUDA version."""
    return f"pip install {kind}" + (f"-cu{cuda_major}" if kind == "tensorrt" else "")


@dataclass(frozen=True)
class Package:
    """One importable package. ``cuda``: the CUDA version it is built for, "" for a CPU-only build,
    None where its files do not tell. ``broken``: why it cannot work, None if nothing speaks against
    it."""

    name: str
    distribution: str
    version: str | None
    cuda: str | None = None
    broken: str | None = None


def onnxruntime() -> Package | None:
    """ONNX Runtime; ``cuda`` is "yes" where its CUDA provider is there, without the version."""
    found, folder = _find("onnxruntime", ORT_DISTRIBUTIONS)
    if found is None or folder is None:
        return found
    several = [name for name in ORT_DISTRIBUTIONS if _version(name)]
    if len(several) > 1:  # they overwrite each other's files, and uninstalling one breaks the other
        return _but(found, broken=f"{' and '.join(several)} are both installed; they share files")
    provider = folder / "capi" / "libonnxruntime_providers_cuda.so"
    return _but(found, cuda="yes" if provider.exists() else "")


def openvino() -> Package | None:
    """OpenVINO."""
    return _find("openvino", ("openvino",))[0]


def torch() -> Package | None:
    """PyTorch, with the CUDA version of its build."""
    found, folder = _find("torch", ("torch",))
    if found is None or folder is None:
        return found
    try:
        text = (folder / "version.py").read_text()
    except OSError:
        return _but(found, broken="its version.py is missing")
    cuda = re.search(r"^cuda\b.*=\s*'([\d.]+)'", text, re.M)
    # What torch.__version__ will say: the metadata may lack the build ("+cu130"), or have it alone.
    own = re.search(r"^__version__\s*=\s*'([^']+)'", text, re.M)
    found = replace(found, version=own[1] if own else found.version)
    return _but(found, cuda=cuda[1] if cuda else "")


def cupy() -> Package | None:
    """CuPy, with the CUDA major version in its name ("13")."""
    found, folder = _find("cupy", CUPY_DISTRIBUTIONS)
    if found is None or folder is None:
        return found
    several = [name for name in CUPY_DISTRIBUTIONS if _version(name)]
    if len(several) > 1:
        return _but(found, broken=f"{' and '.join(several)} are both installed; they share files")
    major = re.search(r"cuda(\d+)x", found.distribution)
    return _but(found, cuda=major[1] if major else None)


def tensorrt() -> Package | None:
    """TensorRT, with the CUDA major version of its libraries where their name tells."""
    found, folder = _find("tensorrt", TENSORRT_DISTRIBUTIONS)
    if found is None and _spec_folder("tensorrt_bindings")[0]:
        version = _version("tensorrt-cu13-bindings") or _version("tensorrt-cu12-bindings")
        return Package(
            "tensorrt", "tensorrt", version, broken="the bindings are installed alone, no libraries"
        )
    if found is None or folder is None:
        return found
    major = next((n for n in ("13", "12") if _version(f"tensorrt-cu{n}-libs")), None)
    return _but(found, cuda=major)


def tensorrt_rtx() -> Package | None:
    """TensorRT for RTX."""
    return _find("tensorrt_rtx", RTX_DISTRIBUTIONS)[0]


def _find(module: str, distributions: tuple[str, ...]) -> tuple[Package | None, Path | None]:
    """The package and its folder; no folder where it is broken or absent."""
    found, folder, problem = _spec_folder(module)
    if not found:
        return None, None
    name, version = next(
        ((name, version) for name in distributions if (version := _version(name))),
        (distributions[-1], None),
    )
    return Package(module, name, version, broken=problem), folder


def _spec_folder(module: str) -> tuple[bool, Path | None, str | None]:
    """Whether ``module`` is importable by name, its folder, and what is wrong with it."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError) as error:
        return True, None, f"Python cannot find its way in: {error}"
    if spec is None:
        return False, None, None
    if not spec.origin:  # a folder without __init__.py
        return True, None, "a folder of that name without a package in it, left by an uninstall"
    return True, Path(spec.origin).parent, None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except Exception:  # not installed, or metadata that cannot be parsed: no version either way
        return None


def _but(package: Package, cuda: str | None = None, broken: str | None = None) -> Package:
    return Package(package.name, package.distribution, package.version, cuda, broken)
