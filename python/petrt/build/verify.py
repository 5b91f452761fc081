"""Does an engine give the right images? Judged on volumes, through the whole reverse process.

Errors of single layers say little: what 16 bit loses in one step, ten steps may add up or wash out, and
a compiler may be silently wrong for one layer of one size. So a simulated low-dose volume is
reconstructed with the engine and in float32 on the CPU, by ONNX Runtime or, where that is not
installed, by petrt's own engine, from the same noise, and the two images are compared. An engine in 8
bit is held against the simulated full-dose image too, at the lowest, a middle and the highest dose that
the model was trained on and with many samples: the less noise there is in an image, the more an error
shows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from petrt import machine, packages
from petrt.bundle import Bundle
from petrt.cuda.batches import Limits
from petrt.engines.base import Engine
from petrt.engines.native import NativeEngine
from petrt.engines.native_graph import Unsupported
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.record import GpuRecord, Verified
from petrt.errors import DeviceError, NonfiniteOutput
from petrt.metrics import json_number, psnr, standard_mask
from petrt.reconstructor import Reconstructor
from petrt.simulate import simulate_subject
from petrt.simulate.subject import DOSES, Subject
from petrt.spec import ModelSpec
from petrt.stats import change

logger = logging.getLogger("petrt")

Array = NDArray[np.float32]
Size = tuple[int, int]

SEED = 20260711
DOSE = 100
SLICES = 4  # enough for every neighbour pattern: both ends of a volume and its inside
SAMPLES = 8  # where the image is held against the full dose
SIZE = (128, 128)  # of a model that names no matrix


@dataclass(frozen=True)
class Limit:
    """What an engine must reach: PSNR against float32 at least, change of the maximum at most, and
    loss of PSNR against the full-dose image at most (None: not looked at)."""

    psnr_db: float
    suvmax_shift_percent: float
    loss_db: float | None = None


# An error 55 dB below an image that is itself 35.5 dB from the full dose takes 0.05 dB of these away:
# 10 log10(1 + 10^((35.5 - 55) / 10)).
BARS = {
    "fp32": Limit(60.0, 0.1),
    "fp16": Limit(45.0, 2.0),
    "bf16": Limit(45.0, 2.0),
    "int8": Limit(55.0, 2.0, 0.05),
}


@dataclass(frozen=True)
class Case:
    """One simulated volume and what float32 makes of it; [H, W, slices] each."""

    dose: int
    low: Array
    full: Array
    expected: Array


@dataclass(frozen=True)
class Reference:
    """What engines are held against; ``against``: the engine that gave the images, in words."""

    cases: list[Case]
    samples: int
    against: str

    def __str__(self) -> str:
        doses = [f"1/{case.dose}" for case in self.cases]
        levels = " and ".join(part for part in (", ".join(doses[:-1]), doses[-1]) if part)
        size = "x".join(map(str, self.cases[0].low.shape))
        text = f"simulated brain at {levels} dose, {size}"
        return text if self.samples == 1 else f"{text}, {self.samples} samples"


def verify(
    bundle: Bundle,
    engine: Engine,
    *,
    size: Size | None = None,
    gpu: GpuRecord | None = None,
    limit: Limit | None = None,
    reference: Reference | None = None,
) -> Verified:
    """Compare ``engine`` with float32 on the CPU; the figures, if they reach the bars.

    ``size`` (H, W): of the slices, by default the model's matrix; there are so many that the engine's
    smallest call is full of them. ``gpu``: where the engine runs, for
    the record. ``limit``: by default that of the precision. ``reference``: where it is at hand. Raises
    DeviceError naming the figure and its bar where one is missed.
    """
    bar = limit or BARS[engine.precision]
    if reference is None:
        approximate = bar.loss_db is not None
        reference = make_reference(
            bundle,
            probed_doses(bundle.model) if approximate else (DOSE,),
            SAMPLES if approximate else 1,
            size=size,
            slices=max(SLICES, Limits.of(engine, bundle.model.network).slices[0]),
        )
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
    if reason := missed(verified, bar):
        raise _missed(engine, reason)
    logger.info("verified on %s: %s", verified.volume, figures_text(verified))
    return verified


def make_reference(
    bundle: Bundle,
    doses: tuple[int, ...],
    samples: int,
    *,
    size: Size | None = None,
    slices: int = SLICES,
    seed: int = SEED,
) -> Reference:
    """Simulated volumes of subject ``seed`` at 1/``doses``, with the images that float32 gives."""
    size = size or slice_size(bundle.model)
    subject = reference_subject(size, voxel_of(bundle.model), doses, seed, slices)
    engine = reference_engine(bundle)
    cases = [
        Case(
            dose, subject.low[dose], subject.full,
            _reconstruct(bundle, engine, subject.low[dose], dose, samples),
        )
        for dose in doses
    ]  # fmt: skip
    return Reference(cases, samples, f"{engine.name} {engine.version}, fp32, cpu")


def reference_engine(bundle: Bundle) -> Engine:
    """What others are held against: ONNX Runtime, which is not petrt's own work, where it is installed
    and sound, else petrt's own engine; both in float32 on the CPU. Raises DeviceError where neither runs
    the bundle."""
    if packages.has_onnxruntime():
        return OnnxRuntimeEngine(bundle)
    try:
        return NativeEngine(bundle)
    except Unsupported as error:
        text = f"no float32 to verify images with: {error.message}, and there is no ONNX Runtime"
        raise DeviceError(text, machine.onnxruntime_command()) from error


def measure(bundle: Bundle, engine: Engine, reference: Reference) -> Verified:
    """The worst of the figures of ``engine`` over all cases. Raises NonfiniteOutput."""
    found = [
        compare(
            _reconstruct(bundle, engine, case.low, case.dose, reference.samples),
            case.expected,
            case.full,
        )
        for case in reference.cases
    ]
    levels = [each.psnr_db for each in found if each.psnr_db is not None]
    losses = [each.loss_db for each in found if each.loss_db is not None]
    return found[0].model_copy(
        update={
            "psnr_db": min(levels, default=None),
            "suvmax_shift_percent": max((f.suvmax_shift_percent for f in found), key=abs),
            "loss_db": max(losses, default=None),
        }
    )


def compare(found: Array, expected: Array, full: Array | None = None) -> Verified:
    """PSNR over the ``standard`` protocol's mask and range, the change of the maximum, and with
    ``full`` by how much less PSNR ``found`` has against it than ``expected``."""
    peak = float(expected.max())
    if peak <= 0:
        raise DeviceError(
            "the model cannot be verified: its float32 result has no positive voxel",
            "export an earlier checkpoint",
        )
    shift = change(found, expected).suvmax_shift_percent
    loss = None if full is None else _psnr(expected, full) - _psnr(found, full)
    return Verified(
        psnr_db=json_number(_psnr(found, expected)),
        suvmax_shift_percent=0.0 if shift is None else shift,
        loss_db=loss,
        nonfinite=0,
        against="",
        volume="",
    )


def missed(figures: Verified, bar: Limit) -> str | None:
    """The figure that misses ``bar``, with it; None where all are reached."""
    level, shift, loss = figures.psnr_db, figures.suvmax_shift_percent, figures.loss_db
    if level is not None and level < bar.psnr_db:
        return f"PSNR {level:.1f} dB (at least {bar.psnr_db:g} dB)"
    if abs(shift) > bar.suvmax_shift_percent:
        return f"the maximum is {shift:+.2f} % off (at most {bar.suvmax_shift_percent:g} %)"
    if bar.loss_db is not None and loss is not None and loss > bar.loss_db:
        return f"PSNR against the full dose falls by {loss:.3f} dB (at most {bar.loss_db:g} dB)"
    return None


def figures_text(figures: Verified) -> str:
    level = "equal" if figures.psnr_db is None else f"PSNR {figures.psnr_db:.1f} dB"
    text = f"{level}, maximum {figures.suvmax_shift_percent:+.3f} %"
    if figures.loss_db is None:
        return text
    return f"{text}, against the full dose {-figures.loss_db:+.3f} dB"


def slice_size(model: ModelSpec) -> Size:
    return model.domain.matrix or SIZE


def voxel_of(model: ModelSpec) -> float:
    return float(np.clip(model.domain.voxel_mm[0], 0.5, 16.0))


def trained_doses(model: ModelSpec) -> tuple[int, ...]:
    """Simulated dose reductions that the model was trained on, largest first; never none."""
    fraction = model.domain.dose_fraction or 1 / DOSE
    low, high = model.domain.dose_range or (fraction, fraction)
    inside = [d for d in DOSES if low * (1 - 1e-6) <= 1 / d <= high * (1 + 1e-6)]
    nearest = min(DOSES, key=lambda d: abs(np.log(d * fraction)))
    return tuple(sorted(inside or [nearest], reverse=True))


def probed_doses(model: ModelSpec) -> tuple[int, ...]:
    """The lowest, a middle and the highest of the trained doses."""
    doses = trained_doses(model)
    return tuple(dict.fromkeys((doses[0], doses[len(doses) // 2], doses[-1])))


@lru_cache(maxsize=3)
def reference_subject(
    size: Size,
    voxel_mm: float,
    doses: tuple[int, ...] = (DOSE,),
    seed: int = SEED,
    slices: int = SLICES,
) -> Subject:
    """The middle slices of a simulated brain, [H, W, slices]; the same on every machine."""
    return simulate_subject(seed, doses=doses, shape=(*size, slices), voxel_mm=voxel_mm)


def _psnr(found: Array, expected: Array) -> float:
    mask, peak = standard_mask(expected), float(expected.max())
    return psnr(found[mask].astype(np.float64), expected[mask].astype(np.float64), peak)


def _reconstruct(
    bundle: Bundle, engine: Engine, volume: Array, dose: int = DOSE, samples: int = 1
) -> Array:
    """The reconstruction of ``volume``, from noise that is the same for every engine."""
    reconstructor = Reconstructor(bundle, engine=engine, samples=samples)
    height, width, slices = volume.shape
    shape = (reconstructor.table.steps + 1, samples, slices, 1, height, width)
    noise = np.random.default_rng(SEED).standard_normal(shape, np.float32)
    image: Array = reconstructor(volume, dose=1 / dose, noise=noise).image
    return image


def _missed(engine: Engine, what: str) -> DeviceError:
    return DeviceError(
        f"{engine.name} {engine.version} in {engine.precision} gives wrong images on {engine.device}: "
        f"{what}",
        {
            "fp32": "use another engine",
            "int8": "run it in fp32, or calibrate on volumes of your own: --calibration PATH",
        }.get(engine.precision, "build it in fp32, or use another engine"),
    )
