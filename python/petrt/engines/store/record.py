"""``engine.json``: the record of an installed engine and of its verification."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from petrt.errors import DeviceError
from petrt.files.json_text import parsed
from petrt.model.bundle import FileEntry
from petrt.model.spec import Spec

RECORD = "engine.json"
TIMING_CACHE = "timing.cache"
# The kernel cache of a TensorRT-RTX engine: see petrt.engines.tensorrt.runtime_cache.
RUNTIME_CACHE = re.compile(r"runtime-[0-9a-f]{12}\.cache")
# Name of a network -> the file of its plan.
PLANS = {"guidance": "guidance.plan", "coarse": "coarse.plan", "denoiser": "denoiser.plan"}

EngineKind = Literal["tensorrt", "tensorrt-rtx"]
LABELS: dict[str, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
Capability = tuple[int, int]
Range = tuple[int, int, int]


def range_text(sizes: Range) -> str:
    """(1, 8, 32) as "1,8,32", and (16, 16, 16) as "16"."""
    return ",".join(map(str, sizes if sizes[0] < sizes[2] else sizes[:1]))


class GpuRecord(Spec):
    """A GPU and its driver."""

    name: str
    compute_capability: Capability
    driver: str


class ProfileRecord(Spec):
    """The sizes that the plans accept: smallest, the one they are tuned for, largest."""

    slices: Range
    samples: Range
    height: Range
    width: Range

    @field_validator("slices", "samples", "height", "width")
    @classmethod
    def _ordered(cls, value: Range) -> Range:
        if not 1 <= value[0] <= value[1] <= value[2]:
            raise ValueError(f"a profile rises from 1 on: smallest, usual, largest; got {value}")
        return value

    def __str__(self) -> str:
        sizes = dict.fromkeys(f"{h}x{w}" for h, w in zip(self.height, self.width, strict=True))
        slices, samples = range_text(self.slices), range_text(self.samples)
        return f"slices {slices}, samples {samples}, size {' '.join(sizes)}"


class Flags(Spec):
    """Build options other than precision and profile."""

    hardware_compatibility: Literal["none", "same-compute-capability", "ampere-plus"] = "none"
    tf32: bool = False
    workspace_bytes: int | None = Field(default=None, gt=0)


class Verified(Spec):
    """The result of ``petrt.inference.verify_engine`` on ``gpu``. ``psnr_db`` None: bit for bit equal."""

    psnr_db: float | None
    suvmax_shift_percent: float
    nonfinite: int = Field(ge=0)
    against: str
    volume: str
    gpu: GpuRecord | None = None


class ModelRef(Spec):
    """Name and identity (``Bundle.identity``) of the model."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class EngineRecord(Spec):
    """``engine.json``. ``gpu``: the GPU for which TensorRT plans were tuned. ``targets``: the compute
    capabilities for which TensorRT-RTX plans were built, with or without such a GPU."""

    format: Literal["petrt-engine"] = "petrt-engine"
    version: Literal[1] = 1
    petrt: str
    model: ModelRef
    engine: EngineKind
    engine_version: str
    precision: Literal["fp32", "fp16", "bf16"]
    profile: ProfileRecord
    gpu: GpuRecord | None = None
    targets: tuple[Capability, ...] = ()
    flags: Flags = Flags()
    files: dict[str, FileEntry]
    built: str
    built_seconds: float = Field(ge=0)
    verified: Verified | None = None

    @model_validator(mode="after")
    def _consistent(self) -> EngineRecord:
        if (self.engine == "tensorrt") != (self.gpu is not None):
            raise ValueError("a TensorRT engine names its GPU, a TensorRT-RTX engine does not")
        if (self.engine == "tensorrt-rtx") != bool(self.targets):
            raise ValueError("a TensorRT-RTX engine names its targets, a TensorRT engine does not")
        graphs = set(PLANS.values())
        unknown = set(self.files) - graphs - {TIMING_CACHE}
        if unknown or not set(self.files) & graphs:
            raise ValueError(f"files {sorted(self.files)} are not those of an engine")
        return self

    @property
    def key(self) -> str:
        return engine_key(self.model.sha256, self.engine, self.precision, self.gpu, self.targets)

    @property
    def folder(self) -> str:
        """The start of the folder's name: readable, and unique by the key at its end."""
        capabilities = [self.gpu.compute_capability] if self.gpu else sorted(self.targets)
        where = "-".join(f"sm{major}{minor}" for major, minor in capabilities)
        name = self.model.name[:40]
        return f"{name}-{self.engine}-{self.precision}-{where}-{self.key[:12]}"

    @property
    def built_for(self) -> str:
        """The GPU's name, or the compute capabilities, as text."""
        return self.gpu.name if self.gpu else capability_text(self.targets)

    def verified_on(self, gpu: GpuRecord) -> bool:
        """Whether the engine was verified on this kind of GPU with this driver."""
        return self.verified is not None and self.verified.gpu == gpu


def engine_key(
    model_sha256: str,
    engine: EngineKind,
    precision: str,
    gpu: GpuRecord | None,
    targets: Sequence[Capability],
) -> str:
    """SHA-256 in hex of model, engine, precision, and GPU or targets. One engine is installed per key."""
    name = None if gpu is None else [gpu.name, *gpu.compute_capability]
    parts = [model_sha256, engine, precision, name, sorted(targets)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def runtime_cache_name(gpu: GpuRecord) -> str:
    """The name of the file with the kernels compiled for such a GPU, for any driver."""
    kind = json.dumps([gpu.name, *gpu.compute_capability])
    return f"runtime-{hashlib.sha256(kind.encode()).hexdigest()[:12]}.cache"


def capability_text(capabilities: Sequence[Capability]) -> str:
    return ", ".join(f"{major}.{minor}" for major, minor in capabilities)


def dump_record(record: EngineRecord) -> bytes:
    """The record as JSON with its own digest, so that an edit is noticed."""
    fields = record.model_dump(mode="json")
    text = json.dumps({**fields, "sha256": _digest(fields)}, indent=2, allow_nan=False)
    return f"{text}\n".encode("ascii")


def parse_record(text: bytes) -> EngineRecord:
    """Read a record. Raises DeviceError for anything that ``dump_record`` does not write."""
    try:
        fields = parsed(text)
    except ValueError as error:
        raise DeviceError(f"{RECORD} is not JSON") from error
    if not isinstance(fields, dict) or fields.get("format") != "petrt-engine":
        raise DeviceError(f"{RECORD} is not the record of an engine")
    if fields.get("version") != 1:
        raise DeviceError(f"{RECORD} has version {fields.get('version')!r}, this petrt reads 1")
    digest = fields.pop("sha256", None)
    if digest != _digest(fields):
        raise DeviceError(f"{RECORD} was edited or damaged")
    if fields.get("precision") == "int8":
        raise DeviceError("networks in int8, which this petrt does not run; delete the folder")
    try:
        return EngineRecord.model_validate(_without_int8(fields))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "record"
        raise DeviceError(f"{RECORD}: {key}: {first['msg']}") from error


def _without_int8(fields: dict[str, Any]) -> dict[str, Any]:
    """``fields`` without the empty ones that earlier versions wrote for int8."""
    kept = {k: v for k, v in fields.items() if v is not None or k not in ("cpu", "quantized")}
    verified = kept.get("verified")
    if isinstance(verified, dict) and verified.get("loss_db", 0) is None:
        kept["verified"] = {k: v for k, v in verified.items() if k != "loss_db"}
    return kept


def _digest(fields: dict[str, object]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
