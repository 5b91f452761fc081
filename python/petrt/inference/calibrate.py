"""A model's uncertainty on the subjects of a prepared data set: how they are run, fitted and judged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from petrt.data.dataset import Dataset
from petrt.diffusion.dose import ROUNDING
from petrt.errors import InputError, UsageError
from petrt.evaluation.activity import change
from petrt.evaluation.calibration import (
    LEVELS,
    Coverage,
    ErrorBin,
    Voxels,
    active_voxels,
    coverage_table,
    error_by_std,
    fit_factor,
)
from petrt.evaluation.metrics import standard_mask
from petrt.imaging.grid import SAME_VOXEL
from petrt.inference.judgement import warnings
from petrt.inference.reconstructor import Reconstructor
from petrt.model.spec import CalibrationSpec, ModelSpec, SamplerSpec

logger = logging.getLogger("petrt")


@dataclass(frozen=True)
class Setting:
    """What a factor is fitted for. ``dose``: the reduction, 100 for 1/100."""

    level: float
    sampler: SamplerSpec
    samples: int
    dose: int

    def __str__(self) -> str:
        sampler = f"{self.sampler.kind} of {self.sampler.steps} steps"
        return f"{sampler}, {self.samples} samples, 1/{self.dose} dose"

    def spec(self, factor: float, subjects: int) -> CalibrationSpec:
        """The calibration as a bundle keeps it."""
        return CalibrationSpec(
            factor=factor,
            level=self.level,
            sampler=self.sampler,
            samples=self.samples,
            dose_fraction=1 / self.dose,
            subjects=subjects,
        )


@dataclass(frozen=True)
class Verdict:
    """What a factor does on some subjects: coverage and error by std, with it and without."""

    factor: float
    before: list[Coverage]
    after: list[Coverage]
    by_std: list[ErrorBin]
    by_calibrated_std: list[ErrorBin]
    voxels: dict[str, int]

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def reduction(fraction: float) -> int:
    """100 for a dose of 0.01. Raises UsageError for what is not one over a whole number from 2 on."""
    whole = round(1 / fraction)
    if whole < 2 or abs(whole * fraction - 1) > ROUNDING:
        raise UsageError(f"dose {fraction:g} is no reduced dose", "give one such as 1/20 or 0.05")
    return whole


def check_subjects(dataset: Dataset, ids: Sequence[str], model: ModelSpec, dose: int) -> None:
    """Refuse, before any work, a data set that is not the model's. Raises InputError."""
    if model.network.denoiser is None:
        raise InputError(
            f"model '{model.name}' has no denoiser: it gives one image, not samples",
            "calibrate a model with one",
        )
    for axis, size, trained in zip("xyz", dataset.voxel_mm, model.domain.voxel_mm, strict=True):
        if abs(size / trained - 1) > SAME_VOXEL:
            raise InputError(
                f"the data set's voxels are {size:.3g} mm along {axis}, the model's {trained:.3g} mm",
                "prepare the data with --voxel-mm as the model has it",
            )
    if dataset.scale_rule != model.scale:
        raise InputError(
            f"the data set is scaled by '{dataset.scale_rule.kind}', the model by another rule "
            f"('{model.scale.kind}')",
            "prepare the data with the model's rule",
        )
    if not ids:
        raise InputError("the split has no subjects", "list some, or choose another --split")
    for name in ids:
        dataset.pair(name, dose)


def gather(
    reconstructor: Reconstructor,
    dataset: Dataset,
    name: str,
    dose: int,
    *,
    every: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Voxels:
    """Reconstruct subject ``name`` at 1/``dose``: its active voxels in every ``every``-th slice."""
    pair = dataset.pair(name, dose)
    mean, std, _ = reconstructor.on_grid(pair.low, dose=1 / dose, every=every, progress=progress)
    kept = change(mean[::every], pair.low[::every])
    for warning in warnings([{**asdict(kept), "negative_fraction": 0.0}]):
        logger.warning("warning: %s: %s", name, warning)
    reference = np.asarray(pair.full, np.float32) * np.float32(pair.gain)
    mask = standard_mask(reference)
    mask[np.arange(len(mask)) % every != 0] = False
    return active_voxels(mean, std, reference, mask)


def judge(subjects: Sequence[Voxels], factor: float, level: float) -> Verdict:
    """What ``factor`` does on ``subjects``, at the usual levels and at ``level``."""
    levels = sorted({*LEVELS, level})
    return Verdict(
        factor,
        before=coverage_table(subjects, 1.0, levels),
        after=coverage_table(subjects, factor, levels),
        by_std=error_by_std(subjects),
        by_calibrated_std=error_by_std(subjects, factor),
        voxels={
            "active": sum(each.active for each in subjects),
            "used": sum(len(each.std) for each in subjects),
            "zero_std": sum(each.zero_std for each in subjects),
        },
    )


def fit(subjects: Sequence[Voxels], setting: Setting) -> tuple[CalibrationSpec, Verdict]:
    """The calibration for ``setting`` from ``subjects`` run with it, and what it does on them."""
    factor = fit_factor(subjects, setting.level)
    return setting.spec(factor, len(subjects)), judge(subjects, factor, setting.level)
