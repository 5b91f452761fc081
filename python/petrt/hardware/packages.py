"""Finds the optional packages that are installed, without importing them: torch takes seconds to import.

Versions come from the packages' metadata, CUDA versions from files inside them. Each package is absent,
broken with a reason (a folder left by an uninstall, a wheel without its libraries), or found.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ORT_DISTRIBUTIONS = ("onnxruntime-gpu", "onnxruntime")
CUPY_DISTRIBUTIONS = ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy")
TENSORRT_DISTRIBUTIONS = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
RTX_DISTRIBUTIONS = ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12")
# The distributions in a group write the same files, so only one of them can be installed.
SHARING = (ORT_DISTRIBUTIONS, CUPY_DISTRIBUTIONS)
NEWEST_CUDA = 13  # the newest CUDA with wheels, used by petrt's extras


def extra(*names: str) -> str:
    """The command that installs extras of petrt, named as in pyproject.toml."""
    return f"pip install 'petrt[{','.join(names)}]'"


def instead(distributions: Sequence[str], command: str) -> str:
    """``command`` after uninstalling ``distributions``; pip skips those that are not installed."""
    return f"pip uninstall -y {' '.join(distributions)} && {command}"


CUDA, TORCH, OPENVINO = extra("cuda"), extra("torch"), extra("openvino")


def torch_command(cuda_major: int, *, replaces: bool) -> str:
    """The command that installs PyTorch with CUDA.

    ``replaces``: replace an installed one that is without CUDA or for a newer driver; pip would keep it."""
    if cuda_major >= NEWEST_CUDA and not replaces:
        return TORCH
    index = f"https://download.pytorch.org/whl/cu{130 if cuda_major >= NEWEST_CUDA else 126}"
    return f"pip install {'--force-reinstall ' if replaces else ''}torch --index-url {index}"


def cupy_command(cuda_major: int) -> str:
    """The command that installs CuPy and its CUDA libraries for a driver's CUDA version."""
    return CUDA if cuda_major >= NEWEST_CUDA else f'pip install "cupy-cuda{cuda_major}x[ctk]"'


def tensorrt_command(kind: str, cuda_major: int) -> str:
    """The command that installs ``tensorrt`` or ``tensorrt-rtx`` for a driver's CUDA version."""
    return extra(kind) if cuda_major >= NEWEST_CUDA else f"pip install {kind}-cu{cuda_major}"


@dataclass(frozen=True)
class Package:
    """One importable package. ``cuda``: the CUDA version it is built for, "" for a CPU-only build,
    None if unknown. ``broken``: why it cannot work, or None. ``present``: its installed distributions;
    if there are several, they have overwritten each other's files."""

    name: str
    distribution: str
    version: str | None
    cuda: str | None = None
    broken: str | None = None
    present: tuple[str, ...] = ()

    @property
    def installed(self) -> tuple[str, ...]:
        """The distributions that pip has to uninstall."""
        return self.present or (self.distribution,)


def onnxruntime_command(found: Package | None, gpu: bool) -> str:
    """The command that installs ONNX Runtime for the CPU and, if there is a ``gpu``, for the GPU.

    ``found`` is the installed one. The distribution for GPUs also runs on a CPU; it writes the same files
    as the one for CPUs, which must be uninstalled first.
    """
    command = extra("onnxruntime-gpu" if gpu else "onnxruntime")
    if found is None:
        return command
    stays = gpu and found.distribution == "onnxruntime-gpu" and not found.broken
    return command if stays else instead(found.installed, command)


def onnxruntime() -> Package | None:
    """ONNX Runtime; ``cuda`` is "yes" if it has a CUDA provider, since its version is unknown."""
    found, folder = _find("onnxruntime", ORT_DISTRIBUTIONS)
    if found is None or folder is None or found.broken:
        return found
    provider = folder / "capi" / "libonnxruntime_providers_cuda.so"
    return _but(found, cuda="yes" if provider.exists() else "")


def has_onnxruntime() -> bool:
    """Whether ONNX Runtime is installed and not broken; every build of it works on a CPU."""
    found = onnxruntime()
    return found is not None and found.broken is None


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
    # The value of torch.__version__: metadata and version.py differ in the build tag ("+cu130").
    own = re.search(r"^__version__\s*=\s*'([^']+)'", text, re.M)
    found = replace(found, version=own[1] if own else found.version)
    return _but(found, cuda=cuda[1] if cuda else "")


def cupy() -> Package | None:
    """CuPy, with the CUDA major version in its name ("13")."""
    found, folder = _find("cupy", CUPY_DISTRIBUTIONS)
    if found is None or folder is None or found.broken:
        return found
    major = re.search(r"cuda(\d+)x", found.distribution)
    return _but(found, cuda=major[1] if major else None)


def tensorrt() -> Package | None:
    """TensorRT, with the CUDA major version in the name of its libraries, if it is there."""
    found, folder = _find("tensorrt", TENSORRT_DISTRIBUTIONS)
    if found is None and _spec_folder("tensorrt_bindings")[0]:
        version = _version("tensorrt-cu13-bindings") or _version("tensorrt-cu12-bindings")
        return Package(
            "tensorrt", "tensorrt", version, broken="only the bindings are installed, no libraries"
        )
    if found is None or folder is None:
        return found
    major = next((n for n in ("13", "12") if _version(f"tensorrt-cu{n}-libs")), None)
    return _but(found, cuda=major)


def tensorrt_rtx() -> Package | None:
    """TensorRT for RTX."""
    return _find("tensorrt_rtx", RTX_DISTRIBUTIONS)[0]


def _find(module: str, distributions: tuple[str, ...]) -> tuple[Package | None, Path | None]:
    """The package and its folder; no folder if it is broken or absent."""
    found, folder, problem = _spec_folder(module)
    if not found:
        return None, None
    versions = {name: version for name in distributions if (version := _version(name))}
    name = next(iter(versions), distributions[-1])
    if len(versions) > 1 and distributions in SHARING:  # uninstalling one breaks the other
        problem = f"{' and '.join(versions)} are both installed; they share files"
    return Package(module, name, versions.get(name), None, problem, tuple(versions)), folder


def _spec_folder(module: str) -> tuple[bool, Path | None, str | None]:
    """Whether Python finds ``module``, its folder, and what is wrong with it."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError) as error:
        return True, None, f"Python cannot look it up: {error}"
    if spec is None:
        return False, None, None
    if not spec.origin:  # a folder without __init__.py
        return True, None, "a folder of its name without a package in it, left by an uninstall"
    return True, Path(spec.origin).parent, None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except Exception:  # not installed, or its metadata cannot be parsed
        return None


def _but(package: Package, cuda: str | None = None, broken: str | None = None) -> Package:
    return replace(package, cuda=cuda, broken=broken)
