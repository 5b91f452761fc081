"""Does an engine give the right images? Judged on a volume, through the whole reverse process.

Errors of single layers say little: what 16 bit loses in one step, ten steps may add up or wash
out, and a compiler may be silently wrong for one layer of one size. So a simulated low-dose volume
is reconstructed with the engine and with ONNX Runtime in float32 on the CPU, from the same noise, and
the two images are compared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from petrt.bundle import Bundle
from petrt.engines.base import Engine
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.record import GpuRecord, Verified
from petrt.errors import DeviceError, NonfiniteOutput
from petrt.metrics import json_number, psnr, standard_mask
from petrt.reconstructor import Reconstructor
from petrt.simulate import simulate_subject
from petrt.stats import change

logger = logging.getLogger("petrt")

Array = NDArray[np.float32]

SEED = 20260711
DOSE = 100
SLICES = 4  # enough for every neighbour pattern: both ends of a volume and its inside
SIZE = (128, 128)  # of a model that names no matrix


@dataclass(frozen=True)
class Bar:
    """What an engine must reach: PSNR at least, change of the maximum at most."""

    psnr_db: float
    suvmax_shift_percent: float


BARS = {"fp32": Bar(60.0, 0.1), "fp16": Bar(45.0, 2.0), "bf16": Bar(45.0, 2.0)}


def verify(
    bundle: Bundle,
    engine: Engine,
    *,
    size: tuple[int, int] | None = None,
    gpu: GpuRecord | None = None,
) -> Verified:
    """Compare ``engine`` with ONNX Runtime on the CPU; the figures, if they reach the bars.

    ``size`` (H, W): of the slices, by default the model's matrix. ``gpu``: where the engine runs, for
    the record. Raises DeviceError naming the figure and its bar where one is missed.
    """
    size = size or bundle.model.domain.matrix or SIZE
    reference = OnnxRuntimeEngine(bundle)
    expected = _reconstruct(bundle, reference, size)
    try:
        found = _reconstruct(bundle, engine, size)
    except NonfiniteOutput as error:
        raise _missed(engine, f"{error.count} voxels are NaN or infinite (allowed 0)") from error
    steps = bundle.model.sampler.steps
    verified = compare(found, expected).model_copy(
        update={
            "against": f"{reference.name} {reference.version}, fp32, cpu",
            "volume": f"simulated brain at 1/{DOSE} dose, {size[0]}x{size[1]}x{SLICES}, {steps} steps",
            "gpu": gpu,
        }
    )
    bar, psnr_db = BARS[engine.precision], verified.psnr_db
    if psnr_db is not None and psnr_db < bar.psnr_db:
        raise _missed(engine, f"PSNR {psnr_db:.1f} dB (at least {bar.psnr_db:g} dB)")
    shift = verified.suvmax_shift_percent
    if abs(shift) > bar.suvmax_shift_percent:
        limit = bar.suvmax_shift_percent
        raise _missed(engine, f"the maximum is {shift:+.2f} % off (at most {limit:g} %)")
    text = "equal" if psnr_db is None else f"PSNR {psnr_db:.1f} dB"
    logger.info("verified on %s: %s, maximum %+.3f %%", verified.volume, text, shift)
    return verified


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


@lru_cache(maxsize=2)
def reference_volume(size: tuple[int, int], voxel_mm: float) -> Array:
    """The middle slices of a simulated low-dose brain, [H, W, SLICES]; the same on every machine."""
    subject = simulate_subject(SEED, doses=(DOSE,), shape=(*size, SLICES), voxel_mm=voxel_mm)
    return subject.low[DOSE]


def _reconstruct(bundle: Bundle, engine: Engine, size: tuple[int, int]) -> Array:
    """One sample of the reference volume, from noise that is the same for every engine."""
    voxel = float(np.clip(bundle.model.domain.voxel_mm[0], 0.5, 16.0))
    reconstructor = Reconstructor(bundle, engine=engine)
    shape = (reconstructor.table.steps + 1, 1, SLICES, 1, *size)
    noise = np.random.default_rng(SEED).standard_normal(shape, np.float32)
    volume = reference_volume(size, voxel)
    image: Array = reconstructor(volume, dose=1 / DOSE, noise=noise).image
    return image


def _missed(engine: Engine, what: str) -> DeviceError:
    return DeviceError(
        f"{engine.name} {engine.version} in {engine.precision} gives wrong images on {engine.device}: "
        f"{what}",
        "build it in fp32, or use another engine"
        if engine.precision != "fp32"
        else "use another engine",
    )
