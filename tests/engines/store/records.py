"""Records and engines to install, small and made up."""

from __future__ import annotations

import hashlib
from typing import Any

from petrt.engines.store.folder import Installed, build_lock, install
from petrt.engines.store.match import Wanted
from petrt.engines.store.record import EngineRecord, GpuRecord, ModelRef, ProfileRecord, Verified
from petrt.model.bundle import Bundle, FileEntry

H100 = GpuRecord(name="NVIDIA H100", compute_capability=(9, 0), driver="570.1")
RTX4090 = GpuRecord(name="NVIDIA GeForce RTX 4090", compute_capability=(8, 9), driver="580.2")
PROFILE = ProfileRecord(
    slices=(1, 8, 16), samples=(1, 1, 4), height=(64, 128, 192), width=(64, 128, 192)
)
VERIFIED = Verified(
    psnr_db=51.5, suvmax_shift_percent=0.1, nonfinite=0, against="", volume="", gpu=H100
)
FILES = {
    "guidance.plan": b"guidance" * 100,
    "coarse.plan": b"coarse" * 100,
    "denoiser.plan": b"denoiser" * 100,
    "timing.cache": b"timings",
}


def make_record(contents: dict[str, bytes] = FILES, **changes: Any) -> EngineRecord:
    fields: dict[str, Any] = {
        "petrt": "0.1.0",
        "model": ModelRef(name="tiny", sha256="a" * 64),
        "engine": "tensorrt",
        "engine_version": "11.4.0",
        "precision": "bf16",
        "profile": PROFILE,
        "gpu": H100,
        "files": {
            name: FileEntry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in contents.items()
        },
        "built": "2026-01-02T03:04:05+00:00",
        "built_seconds": 1.5,
    }
    if changes.get("engine") == "tensorrt-rtx":
        changes = {"gpu": None, "targets": ((8, 9),)} | changes
    return EngineRecord(**fields | changes)


def put(contents: dict[str, bytes] = FILES, **changes: Any) -> Installed:
    """Install a record made by ``make_record``."""
    record = make_record(contents, **changes)
    with build_lock(record.key):
        return install(record, contents)


def of_bundle(bundle: Bundle) -> ModelRef:
    return ModelRef(name=bundle.model.name, sha256=bundle.identity)


def wanted(**changes: Any) -> Wanted:
    """What ``make_record`` fits."""
    fields: dict[str, Any] = {
        "model": "tiny",
        "sha256": "a" * 64,
        "engine": "tensorrt",
        "engine_version": "11.4.0",
        "petrt": "0.1.0",
        "gpu": H100,
    }
    return Wanted(**fields | changes)
