"""Few evaluations: every sampler and number of steps and samples on one case, and the time each takes.

Beside its scores, what the standard deviation of the samples is worth over active voxels: ``coverage``, the
share that mean +- z std holds at 90 %; ``own_coverage``, the same with the factor that the model was
calibrated with, whatever sampler that was; ``factor``, the one that would cover 90 % of this subject;
``width``, half the interval's mean width with that factor, over the full dose's maximum (of two that cover
alike the narrower knows more); ``rank``, Spearman's correlation of std and |error|.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.quality.cases import QualityCase
from benchmarks.quality.model import COARSE, Settings, reconstruct
from benchmarks.quality.scores import Numbers, score, spread
from benchmarks.quality.store import Measured
from petrt.arrays import Array
from petrt.bench.timing import interleaved
from petrt.diffusion.presets import DEFAULT, PRESETS, settle
from petrt.engines.base import Engine
from petrt.errors import InputError
from petrt.evaluation.calibration import active_voxels, coverage, fit_factor, z_value
from petrt.imaging.scaling import scale_of
from petrt.inference.reconstructor import Reconstructor
from petrt.model.bundle import Bundle
from petrt.model.spec import CalibrationSpec, SamplerSpec

LEVEL = 0.9
LABELS = {"ddpm": "DDPM", "ddim": "DDIM", "dpmpp2m": "DPM-Solver++", "mean": "one-step mean"}
# Steps of each sampler with one and with two samples, and with many.
WALKS = {"ddpm": (10, 9, 5, 3, 2), "ddim": (10, 5, 3, 2), "dpmpp2m": (10, 5, 3, 2), "mean": (1,)}
WITH_MANY = {"ddpm": (10, 5, 3, 2), "ddim": (2,), "dpmpp2m": (2,), "mean": (1,)}
FEW = (1, 2)
TIMED_SLICES, REPEATS = 2, 7


@dataclass(frozen=True)
class Setting:
    """A sampler, its steps, and the samples that are averaged."""

    kind: str
    steps: int
    samples: int

    @property
    def name(self) -> str:
        walk = LABELS[self.kind] + ("" if self.kind == "mean" else f"-{self.steps}")
        return f"{walk}, {self.samples} sample" + ("s" if self.samples > 1 else "")

    @property
    def evaluations(self) -> int:
        """Of the denoiser, a slice."""
        return self.steps * self.samples

    @property
    def options(self) -> dict[str, Any]:
        """For Reconstructor."""
        return {"sampler": self.kind, "steps": self.steps, "samples": self.samples}


def curve(own: SamplerSpec, many: int) -> list[Setting]:
    """All that is measured of a model whose own sampler is ``own``, which is among them."""
    found = {}
    for samples in dict.fromkeys((*FEW, many)):
        walks = dict(WALKS if samples in FEW else WITH_MANY)
        walks[own.kind] = tuple(dict.fromkeys((own.steps, *walks[own.kind])))
        for kind, numbers in walks.items():
            for steps in numbers:
                found[Setting(kind, steps, samples)] = None
    return list(found)


def preset(own: SamplerSpec, name: str, samples: int | None = None) -> Setting:
    """What a preset is for such a model, with its own number of samples or another."""
    found = settle(own, preset=name, samples=samples)
    assert found.sampler is not None
    return Setting(found.sampler.kind, found.sampler.steps, found.samples)


def presets(own: SamplerSpec, many: int) -> list[Setting]:
    """The presets that draw samples, with a pair of them and with many."""
    names = [name for name in PRESETS if PRESETS[name].samples]
    found = [preset(own, name, count) for count in (max(FEW), many) for name in names]
    return list(dict.fromkeys(found))


def measure(
    bundle: Bundle, case: QualityCase, settings: Settings, chosen: list[Setting]
) -> Measured:
    """The ``chosen`` settings on one case, and the coarse prediction that all of them start from."""
    seen, measured = settings.views[case.dose].cut(case), Measured()
    engine = engine_of(bundle)
    measured.notes["engine"] = f"{engine.name} {engine.precision}"
    for setting in chosen:
        found = reconstruct(bundle, case, settings, engine=engine, **setting.options)
        if COARSE not in measured.methods and bundle.model.network.coarse:
            measured.methods[COARSE] = score(np.maximum(found.coarse, 0), seen, lesions=False)
        numbers = score(found.image, seen, lesions=False)
        if setting.samples > 1:
            numbers |= worth(found.image, found.std, seen.full, bundle.model.calibration)
        measured.methods[setting.name] = numbers
    return measured


def worth(
    image: Array, std: Array, full: Array, calibration: CalibrationSpec | None = None
) -> Numbers:
    """What ``std`` says of ``image - full``. None where nothing can be said: no spread, no error."""
    from scipy.stats import spearmanr

    voxels = active_voxels(image, std, full)
    numbers: Numbers = {
        "sd": spread(std, full),
        "coverage": 100 * coverage(voxels, LEVEL),
        "own_coverage": None,
        "factor": None,
        "width": None,
        "rank": None,
    }
    if calibration is not None:
        numbers["own_coverage"] = 100 * coverage(voxels, LEVEL, calibration.factor)
    if np.ptp(voxels.std) > 0 and np.ptp(voxels.error) > 0:
        numbers["rank"] = float(spearmanr(voxels.std, voxels.error).statistic)
    try:
        factor = fit_factor([voxels], LEVEL)
    except InputError:  # no factor covers so many voxels
        return numbers
    width = z_value(LEVEL) * factor * float(voxels.std.mean(dtype=np.float64))
    return numbers | {"factor": factor, "width": width}


def engine_of(bundle: Bundle) -> Engine:
    """The engine that every setting runs on."""
    return Reconstructor(bundle).engine


def _share(own: SamplerSpec, seconds: dict[str, dict[str, Any]]) -> float | None:
    """Time of the default preset, uncertainty and all, over that of the model's own sampler with as many
    samples; None where one of them was not measured."""
    names = [preset(own, name).name for name in (DEFAULT, "paper")]
    if any(name not in seconds for name in names):
        return None
    ours, all_steps = (seconds[name]["median_s"] for name in names)
    return float(ours / all_steps)


def timing(bundle: Bundle, case: QualityCase, settings: Settings) -> Measured:
    """Seconds a slice of every setting on one thread: slices of the middle, settings in turn."""
    engine, middle = engine_of(bundle), case.low.shape[2] // 2
    scale = np.float32(scale_of(case.low, bundle.model.scale, case.voxel_mm))
    planes = np.ascontiguousarray(
        (case.low / scale)[:, :, middle : middle + TIMED_SLICES].transpose(2, 0, 1)
    )
    candidates = {}
    for setting in curve(bundle.model.sampler, settings.samples):
        run = Reconstructor(
            bundle,
            engine=engine,
            threads=1,
            seed=settings.seed,
            skip_background=False,
            **setting.options,
        )
        candidates[setting.name] = functools.partial(run.on_grid, planes, dose=1 / case.dose)
    times = interleaved(candidates, REPEATS)
    seconds = {
        name: {key: v / len(planes) if key.endswith("_s") else v for key, v in t.record().items()}
        for name, t in times.items()
    }
    notes = {
        "what": "seconds a slice, one thread, guides to mean and std",
        "engine": f"{engine.name} {engine.precision}",
        "slices": len(planes),
        "matrix": list(planes.shape[1:]),
        "of": seconds,
        "default_share": _share(bundle.model.sampler, seconds),
    }
    return Measured({}, notes)
