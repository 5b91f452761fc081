"""The request of ``petrt build-engine``: its options, completed from this machine's GPU and packages."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from petrt.engines.store.match import Wanted
from petrt.engines.store.open import gpu_here
from petrt.engines.store.record import (
    LABELS,
    Capability,
    EngineKind,
    Flags,
    GpuRecord,
    ProfileRecord,
    capability_text,
    engine_key,
)
from petrt.engines.tensorrt.engine import import_tensorrt, install_command, is_installed
from petrt.errors import DeviceError, UsageError, called
from petrt.export.tensorrt.plan import HardwareCompatibility
from petrt.export.tensorrt.profile import Profile, Range, default_profile, fixed
from petrt.hardware.gpus import RTX_TARGETS, serves_rtx
from petrt.model.bundle import Bundle
from petrt.model.half_precision import Precision
from petrt.values import positive

Size = tuple[int, int]


@dataclass(frozen=True)
class Request:
    """An engine to build. ``gpu``: this machine's GPU ``cuda:index``, on which it is built and verified;
    None to build for ``targets`` only, GPUs of other machines (TensorRT-RTX)."""

    bundle: Bundle
    engine: EngineKind
    trt: Any
    gpu: GpuRecord | None
    index: int | None
    targets: tuple[Capability, ...]
    precision: Precision
    profile: Profile
    flags: Flags

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    @property
    def key(self) -> str:
        """The key with which the engine is installed."""
        gpu = self.gpu if self.engine == "tensorrt" else None
        return engine_key(self.bundle.identity, self.engine, self.precision, gpu, self.targets)

    @property
    def profile_record(self) -> ProfileRecord:
        return ProfileRecord(**asdict(self.profile))

    @property
    def wanted(self) -> Wanted:
        """The properties of an installed engine that make a build unnecessary."""
        return Wanted.of(
            self.bundle,
            self.engine,
            self.version,
            gpu=self.gpu,
            targets=() if self.gpu else self.targets,
            precision=self.precision,
            profile=self.profile_record,
            flags=self.flags,
        )

    def __str__(self) -> str:
        where = self.gpu.name if self.gpu else f"compute capability {capability_text(self.targets)}"
        label = f"{LABELS[self.engine]} {self.version}"
        return f"{self.bundle.model.name}, {label}, {self.precision}, for {where}"


def make_request(
    bundle: Bundle,
    *,
    engine: str = "auto",
    precision: str | None = None,
    gpus: list[str] | None = None,
    slices: int | Range | None = None,
    samples: int | Range | None = None,
    sizes: list[Size] | None = None,
    workspace_gib: float | None = None,
    compatible: HardwareCompatibility = "none",
) -> Request:
    """The request for these options. Missing ones follow from the installed packages and the GPU.

    ``gpus``: names in ``petrt.hardware.gpus.RTX_TARGETS``, or ["cuda:1"]; by default the first GPU.
    ``slices``, ``samples``: per call, a number or (smallest, usual, largest). ``sizes``: (H, W) of
    slices; several make a range that is tuned for the first. Defaults: ``petrt.export.tensorrt.profile``.
    Raises UsageError for contradictory options, DeviceError for a missing GPU or TensorRT.
    """
    profile = _profile(bundle, slices, samples, sizes or [])
    index = _index(gpus or ["cuda:0"])
    targets = _targets(gpus or []) if index is None else ()
    here = None if index is None else _gpu_here(index)
    kind = _kind(engine, targets, here)
    if kind == "tensorrt-rtx" and here is not None:
        targets = (here.compute_capability,)
    if kind == "tensorrt-rtx" and compatible != "none":
        raise UsageError("--compatible is for TensorRT", "name the GPUs instead: --gpu rtx40,rtx50")
    lowest = here.compute_capability if here else min(targets)
    workspace = None
    if workspace_gib is not None:
        workspace = int(positive("workspace_gib", workspace_gib, unit="GiB") * 2**30)
    return Request(
        bundle=bundle,
        engine=kind,
        trt=import_tensorrt(kind),
        gpu=here,
        index=index,
        targets=targets,
        precision=_precision(precision, lowest),
        profile=profile,
        flags=Flags(hardware_compatibility=compatible, workspace_bytes=workspace),
    )


def _index(names: list[str]) -> int | None:
    """The GPU's index, 1 for ["cuda:1"]; None for names of GPU series."""
    found = re.fullmatch(r"cuda:(\d{1,3})", names[0]) if len(names) == 1 else None
    return int(found[1]) if found else None


def _gpu_here(index: int) -> GpuRecord:
    try:
        return gpu_here(index)
    except DeviceError as error:
        raise DeviceError(
            error.message, "--gpu rtx40 builds without a GPU; see petrt doctor"
        ) from error


def _targets(names: list[str]) -> tuple[Capability, ...]:
    for name in names:
        if name not in RTX_TARGETS:
            raise UsageError(
                f"{called('gpu')} is '{name}'", f"choose from {', '.join(RTX_TARGETS)}, or cuda:0"
            )
    return tuple(sorted({RTX_TARGETS[name] for name in names}))


def _kind(engine: str, targets: tuple[Capability, ...], here: GpuRecord | None) -> EngineKind:
    """The kind asked for, or the installed one. Raises an error if it does not support these GPUs."""
    if engine not in ("auto", *LABELS):
        raise UsageError(f"unknown engine '{engine}'", f"choose auto, {' or '.join(LABELS)}")
    if targets:
        if engine == "tensorrt":
            raise UsageError(
                "TensorRT builds for the GPU of this machine only", "use --engine tensorrt-rtx"
            )
        return "tensorrt-rtx"
    capability = here.compute_capability if here else (0, 0)
    serves = serves_rtx(capability)
    if engine == "tensorrt-rtx" and not serves:
        raise DeviceError(
            f"TensorRT-RTX does not run on compute capability {capability_text([capability])}",
            "use --engine tensorrt",
        )
    if engine == "tensorrt" or (engine == "auto" and is_installed("tensorrt")):
        return "tensorrt"
    if engine == "auto" and not (serves and is_installed("tensorrt-rtx")):
        raise DeviceError("TensorRT is not installed", install_command("tensorrt"))
    return "tensorrt-rtx"


def _precision(asked: str | None, capability: Capability) -> Precision:
    if asked not in (None, "fp32", "fp16", "bf16"):
        raise UsageError(f"unknown precision '{asked}'", "choose fp32, fp16 or bf16")
    if asked == "bf16" and capability < (8, 0):
        raise UsageError(
            f"bf16 needs compute capability 8.0, the GPU has {capability_text([capability])}",
            "use --precision fp16",
        )
    if asked is None:
        return "bf16" if capability >= (8, 0) else "fp16"
    return asked  # type: ignore[return-value]


def _profile(
    bundle: Bundle, slices: int | Range | None, samples: int | Range | None, sizes: list[Size]
) -> Profile:
    """The model's default profile, with the given sizes in place of its own."""
    profile = default_profile(bundle.model)
    for name, given in (("slices", slices), ("samples", samples)):
        if given is not None:
            sized = fixed(given) if isinstance(given, int) else given
            profile = replace(profile, **{name: sized})
    if sizes:
        granule = 2**bundle.model.network.scales
        for height, width in sizes:
            if height < 1 or width < 1 or height % granule or width % granule:
                raise UsageError(
                    f"--size is {height}x{width}: this model takes multiples of {granule}",
                    f"the nearest is {_nearest(height, granule)}x{_nearest(width, granule)}",
                )
        heights, widths = ([size[axis] for size in sizes] for axis in (0, 1))
        profile = replace(
            profile,
            height=(min(heights), heights[0], max(heights)),
            width=(min(widths), widths[0], max(widths)),
        )
    return profile


def _nearest(size: int, granule: int) -> int:
    return granule * max(1, round(size / granule))
