"""Does an engine give the right images? Judged on a volume, through the whole reverse process.

Errors of single layers say little. Ten steps may add up or wash out what 16 bit loses in one, and a
compiler may be wrong for one layer of one size. So the engine reconstructs a simulated low-dose volume,
and a reference engine in float32 on the CPU does the same from the same noise. The reference is ONNX
Runtime, or petrt's own engine if that is not installed. The two images are compared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from petrt.arrays import Array
from petrt.data.simulate import simulate_subject
from petrt.diffusion.dose import settle
from petrt.diffusion.noise_schedule import step_table
from petrt.engines.base import Engine
from petrt.engines.native.engine import NativeEngine
from petrt.engines.native.steps import Unsupported
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.store.folder import Installed, record_verification
from petrt.engines.store.record import GpuRecord, Verified
from petrt.errors import DeviceError, NonfiniteOutput
from petrt.evaluation.activity import change
from petrt.evaluation.metrics import json_number, psnr, standard_mask
from petrt.hardware import machine, packages
from petrt.imaging.grid import plan
from petrt.imaging.scaling import scale_of
from petrt.imaging.transform import seen, unseen
from petrt.inference.background import active_slices
from petrt.inference.cuda.batches import Limits
from petrt.inference.pipeline import check_finite, pipeline_of
from petrt.model.bundle import Bundle
from petrt.model.spec import ModelSpec

logger = logging.getLogger("petrt")

Size = tuple[int, int]

SEED = 20260711
DOSE = 100
SLICES = 4  # enough for every neighbour pattern: both ends of a volume and its inside
SIZE = (128, 128)  # of a model that names no matrix


@dataclass(frozen=True)
class Tolerance:
    """What an engine must reach: PSNR against float32 at least, change of the maximum at most."""

    psnr_db: float
    suvmax_shift_percent: float


BARS = {"fp32": Tolerance(60.0, 0.1), "fp16": Tolerance(45.0, 2.0), "bf16": Tolerance(45.0, 2.0)}


@dataclass(frozen=True)
class Reference:
    """A simulated volume and its reconstruction in float32, each [H, W, SLICES]. ``against``: name and
    version of the engine that computed it."""

    low: Array
    expected: Array
    against: str

    def __str__(self) -> str:
        return f"simulated brain at 1/{DOSE} dose, {'x'.join(map(str, self.low.shape))}"


def verify(
    bundle: Bundle, engine: Engine, *, size: Size | None = None, gpu: GpuRecord | None = None
) -> Verified:
    """Compare ``engine`` with float32 on the CPU; the figures, if they reach the bars.

    ``size`` (H, W): of the slices, by default the model's matrix. The volume has enough slices to fill
    the engine's smallest call. ``gpu``: the GPU that the engine runs on, for the record. Raises
    DeviceError, which names figure and bar, where a bar is missed.
    """
    slices = max(SLICES, Limits.of(engine, bundle.model.network).slices[0])
    reference = make_reference(bundle, size=size, slices=slices)
    try:
        verified = measure(bundle, engine, reference)
    except NonfiniteOutput as error:
        raise _missed(engine, f"{error.count} voxels are NaN or infinite (allowed 0)") from error
    verified = verified.model_copy(
        update={
            "against": reference.against,
            "volume": f"{reference}, {bundle.model.sampler.steps} steps",
            "gpu": gpu,
        }
    )
    if reason := missed(verified, BARS[engine.precision]):
        raise _missed(engine, reason)
    logger.info("verified on %s: %s", verified.volume, figures_text(verified))
    return verified


def make_reference(bundle: Bundle, *, size: Size | None = None, slices: int = SLICES) -> Reference:
    """The reference volume with the image that float32 gives."""
    size = size or bundle.model.domain.matrix or SIZE
    low = reference_volume(size, voxel_of(bundle.model), slices)
    engine = reference_engine(bundle)
    expected = _reconstruct(bundle, engine, low)
    return Reference(low, expected, f"{engine.name} {engine.version}, fp32, cpu")


def reference_engine(bundle: Bundle) -> Engine:
    """The engine that others are compared with, in float32 on the CPU: ONNX Runtime, since it is not
    petrt's own work; petrt's own engine where ONNX Runtime is not installed or does not load. Raises
    DeviceError where neither runs the bundle."""
    if packages.has_onnxruntime():
        return OnnxRuntimeEngine(bundle)
    try:
        return NativeEngine(bundle)
    except Unsupported as error:
        text = f"no float32 to verify images with: {error.message}, and there is no ONNX Runtime"
        raise DeviceError(text, machine.onnxruntime_command()) from error


def measure(bundle: Bundle, engine: Engine, reference: Reference) -> Verified:
    """The figures of ``engine`` against ``reference``. Raises NonfiniteOutput."""
    return compare(_reconstruct(bundle, engine, reference.low), reference.expected)


def compare(found: Array, expected: Array) -> Verified:
    """PSNR over the ``standard`` protocol's mask and range, and the change of the maximum."""
    peak = float(expected.max())
    if peak <= 0:
        raise DeviceError(
            "the model cannot be verified: its float32 result has no positive voxel",
            "export an earlier checkpoint",
        )
    mask = standard_mask(expected)
    figure = psnr(found[mask].astype(np.float64), expected[mask].astype(np.float64), peak)
    shift = change(found, expected).suvmax_shift_percent
    return Verified(
        psnr_db=json_number(figure),
        suvmax_shift_percent=0.0 if shift is None else shift,
        nonfinite=0,
        against="",
        volume="",
    )


def missed(figures: Verified, bar: Tolerance) -> str | None:
    """The figure that misses ``bar``, with it; None where all are reached."""
    level, shift = figures.psnr_db, figures.suvmax_shift_percent
    if level is not None and level < bar.psnr_db:
        return f"PSNR {level:.1f} dB (at least {bar.psnr_db:g} dB)"
    if abs(shift) > bar.suvmax_shift_percent:
        return f"the maximum is {shift:+.2f} % off (at most {bar.suvmax_shift_percent:g} %)"
    return None


def figures_text(figures: Verified) -> str:
    level = "equal" if figures.psnr_db is None else f"PSNR {figures.psnr_db:.1f} dB"
    return f"{level}, maximum {figures.suvmax_shift_percent:+.3f} %"


def voxel_of(model: ModelSpec) -> float:
    return float(np.clip(model.domain.voxel_mm[0], 0.5, 16.0))


@lru_cache(maxsize=2)
def reference_volume(size: Size, voxel_mm: float, slices: int = SLICES) -> Array:
    """The middle slices of a simulated low-dose brain, [H, W, slices]; the same on every machine."""
    subject = simulate_subject(SEED, doses=(DOSE,), shape=(*size, slices), voxel_mm=voxel_mm)
    return subject.low[DOSE]


def _reconstruct(bundle: Bundle, engine: Engine, volume: Array) -> Array:
    """One sample of ``volume`` [H, W, slices], from noise that is the same for every engine."""
    model = bundle.model
    table = step_table(model.schedule, model.sampler)
    placement = plan(volume.shape, multiple=2**model.network.scales)
    scale = np.float32(scale_of(volume, model.scale, model.domain.voxel_mm))
    grid = placement.to_network(volume) / scale
    shape = (table.steps + 1, 1, len(grid), 1, *grid.shape[1:])
    noise = np.random.default_rng(SEED).standard_normal(shape, np.float32)
    results = pipeline_of(bundle, engine, table).run(
        seen(grid, model.transform),
        1,
        0,
        first_id=0,
        noise=noise,
        report=lambda done: None,
        dose=settle(1 / DOSE, model),
        active=active_slices(grid),
    )
    check_finite(results, "the reference volume", bundle, engine)
    return placement.from_network(unseen(results.mean, model.transform) * scale)


def verify_first_use(bundle: Bundle, engine: Engine, entry: Installed, gpu: GpuRecord) -> None:
    """Verify an installed engine on the GPU where it is new, and keep the result beside it."""
    profile = entry.record.profile
    size = None if profile is None else (profile.height[1], profile.width[1])
    record_verification(entry, verify(bundle, engine, size=size, gpu=gpu))


def _missed(engine: Engine, what: str) -> DeviceError:
    other = "use another engine"
    return DeviceError(
        f"{engine.name} {engine.version} in {engine.precision} gives wrong images on {engine.device}: "
        f"{what}",
        other if engine.precision == "fp32" else f"build it in fp32, or {other}",
    )
