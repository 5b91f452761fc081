"""ONNX into a plan, with TensorRT or TensorRT for RTX: one Python API under two module names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from petrt.spec import ModelSpec

# Smallest, usual (what the plan is tuned for) and largest.
Range = tuple[int, int, int]
HardwareCompatibility = Literal["none", "same-compute-capability", "ampere-plus"]
# (steps done, steps in all); both grow while the build finds out what there is to do.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Profile:
    """Sizes that a plan accepts. ``images``, the batch of the denoiser, is slices x samples."""

    slices: Range
    samples: Range
    height: Range
    width: Range


def default_profile(model: ModelSpec) -> Profile:
    """The sizes a model of this kind meets."""
    raise NotImplementedError


@dataclass(frozen=True)
class Plan:
    """A serialised engine. ``timing_cache``: hand it to the next build on this machine."""

    data: bytes
    timing_cache: bytes
    seconds: float
    warnings: tuple[str, ...]


def build_plan(
    trt: Any,
    model: bytes,
    profile: Profile,
    *,
    workspace_bytes: int | None = None,
    timing_cache: bytes = b"",
    targets: Sequence[tuple[int, int]] = (),
    hardware_compatibility: HardwareCompatibility = "none",
    tf32: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Compile the ONNX ``model``, whose types are the plan's (see ``petrt.build.precision``).

    ``trt``: the module ``tensorrt`` or ``tensorrt_rtx``. ``targets``: compute capabilities such as
    (8, 6) that a plan of TensorRT for RTX is to run on, a GPU of which need not be present; none:
    the GPU of this machine, or with TensorRT for RTX the ones it supports by default.
    KeyboardInterrupt cancels the build. Raises DeviceError with TensorRT's reason where it refuses
    the model or the profile, or cannot build; UsageError for a profile or targets that make no sense.
    """
    raise NotImplementedError
