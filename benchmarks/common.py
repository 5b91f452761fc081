"""What every benchmark states beside its figures, and where it writes them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import petrt
from petrt.bench.machine import describe

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).resolve().parents[1]  # where ``python -m benchmarks.NAME`` is run


def gpu() -> dict[str, Any] | None:
    """The first GPU, its driver, and the CUDA builds of what runs on it; None without one."""
    import torch

    from petrt.hardware import gpus, packages

    found = gpus.list_gpus()
    if not found:
        return None
    cupy, cuda = packages.cupy(), gpus.cuda_version()
    return {
        "name": found[0].name,
        "compute_capability": "{}.{}".format(*found[0].compute_capability),
        "memory_GiB": round(found[0].memory_bytes / 2**30, 1),
        "driver": gpus.driver_version(),
        "driver_cuda": "{}.{}".format(*cuda) if cuda else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cupy": cupy.version if cupy else None,
    }


def source_digest() -> str:
    """A hash of the package's sources: what was computed from other ones is not used again."""
    package = Path(petrt.__file__).parent
    files = [
        *package.rglob("*.py"),
        *(package / "export").rglob("*.py"),
        *ROOT.glob("benchmarks/latency/*.py"),
    ]
    total = hashlib.sha256()
    for path in sorted(set(files)):
        total.update(path.read_bytes())
    return total.hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path``, whole or not at all. NaN and infinity, which JSON lacks, become text."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")
    scratch.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def save(name: str, result: dict[str, Any]) -> Path:
    """Write ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    write_json(path, {"machine": describe(), **result})
    return path
