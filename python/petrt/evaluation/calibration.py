"""Calibration of the samples' standard deviation: its coverage, and the factor that corrects it.

The interval at ``level`` is mean +- z(level) * factor * std, with z the two-sided normal quantile. It
covers a voxel if ``|mean - full dose| <= z * factor * std``. The factor has a closed form: z * factor is
the ``level`` quantile of the scores ``|mean - full dose| / std`` of the active voxels. This is split
conformal prediction with locally weighted residuals (Lei et al., "Distribution-free predictive inference
for regression", JASA 2018); division by z makes factor * std a standard deviation. The factor also
corrects for the number of samples: with N independent exact samples of a normal distribution the scores
follow sqrt(1 + 1/N) times Student's t of N - 1 degrees of freedom (a factor of 1.22 at 90 % for N = 8).
So a factor is valid for its number of samples only.

All subjects have equal weights. Errors and standard deviations are in units of the reference's maximum, as
in the protocol ``standard`` of petrt.evaluation.metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petrt.arrays import Array64
from petrt.errors import InputError
from petrt.evaluation.metrics import standard_mask
from petrt.model.spec import CalibrationSpec, SamplerSpec

LEVELS = (0.5, 0.8, 0.9, 0.95)
# Most active voxels kept per subject: this gives coverage to 0.05 % and limits the memory.
MOST_VOXELS = 1 << 20


@dataclass(frozen=True)
class Voxels:
    """Active voxels of one subject: |error| and sample std [N], in units of the reference's maximum.

    ``active``: their number before thinning to N. ``zero_std``: the number of the N with a std of 0,
    which are covered only if their error is 0, too.
    """

    error: NDArray[np.float32]
    std: NDArray[np.float32]
    active: int

    @property
    def zero_std(self) -> int:
        return int(np.count_nonzero(self.std == 0))


@dataclass(frozen=True)
class Coverage:
    """Fraction of active voxels inside the interval at ``level``: mean and range over subjects."""

    level: float
    mean: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class ErrorBin:
    """Voxels of similar std: the RMS of their std and of their error, and their fraction of all voxels."""

    std: float
    error: float
    share: float


def z_value(level: float) -> float:
    """The z for which a normal distribution has ``level`` of its mass within +- z; level in (0, 1)."""
    return NormalDist().inv_cdf((1 + level) / 2)


def active_voxels(
    mean: ArrayLike,
    std: ArrayLike,
    reference: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    most: int = MOST_VOXELS,
) -> Voxels:
    """The active voxels of one subject, from mean, std and full-dose reference of one shape and unit.

    ``mask`` (bool, the same shape) is by default reference > 5 % of its maximum. If there are more than
    ``most`` active voxels, every k-th is kept. Raises InputError for differing shapes, non-finite or
    negative std, a reference without a positive voxel, or an empty mask.
    """
    arrays = [np.asarray(each) for each in (mean, std, reference)]
    if len({each.shape for each in arrays}) > 1:
        raise InputError(f"mean, std and reference differ in shape: {[a.shape for a in arrays]}")
    peak = float(arrays[2].max(initial=0.0))
    if not (math.isfinite(peak) and peak > 0):
        raise InputError(f"the reference has no positive, finite maximum ({peak:g})")
    inside = standard_mask(arrays[2]) if mask is None else np.asarray(mask)
    if inside.shape != arrays[2].shape or inside.dtype != np.bool_:
        raise InputError(f"expected a mask of booleans {arrays[2].shape}, got {inside.shape}")
    indices = np.flatnonzero(inside)
    if not len(indices):
        raise InputError("the mask is empty")
    kept = indices[:: math.ceil(len(indices) / most)]
    m, s, r = (each.reshape(-1)[kept].astype(np.float64) / peak for each in arrays)
    error = np.abs(m - r)
    if not (np.isfinite(error).all() and np.isfinite(s).all() and s.min() >= 0):
        raise InputError("mean, std or reference holds non-finite voxels, or a negative std")
    return Voxels(error.astype(np.float32), s.astype(np.float32), len(indices))


def fit_factor(subjects: Sequence[Voxels], level: float) -> float:
    """The factor with which the interval at ``level`` covers a fraction ``level`` of the active voxels.

    Raises InputError if there is none: too many voxels have std 0, or there is no error at all.
    """
    scores, weights = _pooled([_scores(each) for each in subjects])
    order = np.argsort(scores)
    reached = np.cumsum(weights[order])
    # Tolerance for rounding in the sums of weights.
    index = int(np.searchsorted(reached, level - 1e-12))
    quantile = float(scores[order[min(index, len(order) - 1)]])
    if math.isinf(quantile):
        raise InputError(
            f"the samples agree exactly in too many voxels: no factor covers {level:.0%} of them",
            "use more samples or steps, or a model with a working denoiser",
        )
    if quantile == 0:
        raise InputError("the mean equals the full-dose image: there is no error to calibrate to")
    # Rounded up, so that the voxel at the quantile is inside the interval.
    return float(np.nextafter(quantile / z_value(level), np.inf))


def coverage(voxels: Voxels, level: float, factor: float = 1.0) -> float:
    """Fraction of one subject's active voxels within mean +- z(level) * factor * std."""
    return float(np.mean(_scores(voxels) <= factor * z_value(level)))


def coverage_table(
    subjects: Sequence[Voxels], factor: float = 1.0, levels: Sequence[float] = LEVELS
) -> list[Coverage]:
    """The coverage at each level, over subjects of equal weight."""
    rows = []
    for level in levels:
        each = [coverage(voxels, level, factor) for voxels in subjects]
        rows.append(Coverage(level, float(np.mean(each)), min(each), max(each)))
    return rows


def error_by_std(subjects: Sequence[Voxels], factor: float = 1.0, bins: int = 20) -> list[ErrorBin]:
    """RMS error of voxels of similar factor * std, in ``bins`` of equal weight, by rising std.

    A calibrated std gives error = std in every bin (Levi et al., "Evaluating and calibrating
    uncertainty prediction in regression tasks", Sensors 2022).
    """
    std, weights = _pooled([factor * each.std.astype(np.float64) for each in subjects])
    error, _ = _pooled([each.error.astype(np.float64) for each in subjects])
    order = np.argsort(std, kind="stable")
    middle = np.cumsum(weights[order]) - weights[order] / 2
    index = np.minimum((middle * bins).astype(np.int64), bins - 1)
    share, variance, squares = (
        np.bincount(index, weights=part[order], minlength=bins)
        for part in (weights, weights * std**2, weights * error**2)
    )
    return [
        ErrorBin(math.sqrt(v / w), math.sqrt(e / w), float(w))
        for w, v, e in zip(share, variance, squares, strict=True)
        if w > 0
    ]


def std_record(
    calibration: CalibrationSpec | None,
    sampler: SamplerSpec | None,
    samples: int,
    dose: float | None = None,
) -> dict[str, Any]:
    """The record of a std map: whether it is ``calibrated``, the ``factor`` that it is multiplied by, the
    ``level`` that the factor was fitted for, and the ``reason``.

    ``sampler``: None for the coarse prediction alone. ``dose``: fraction of the full dose, or None if it
    is unknown.
    """
    reason = _why_not(calibration, sampler, samples, dose)
    if calibration is None or reason:
        return {"calibrated": False, "factor": 1.0, "level": None, "reason": reason}
    fitted = {"factor": calibration.factor, "level": calibration.level}
    return {"calibrated": True, **fitted, "reason": "fitted for this sampler and these samples"}


def std_description(record: Mapping[str, Any]) -> str:
    """The description of a std map in its header (at most 79 characters), from ``std_record``."""
    kind = "std of the samples, not calibrated"
    if record["calibrated"]:
        kind = f"std, calibrated for {100 * record['level']:g} % intervals"
    return f"petrt {kind}; not for diagnostic use"


def _why_not(
    calibration: CalibrationSpec | None,
    sampler: SamplerSpec | None,
    samples: int,
    dose: float | None,
) -> str:
    """The reason why ``calibration`` is not valid for such samples; "" if it is."""
    if sampler is None or samples < 1:
        return "the coarse prediction has no samples"
    if samples < 2:
        return "a single sample has no standard deviation"
    if calibration is None:
        return "the model has no calibration"
    fitted = calibration.sampler
    if (fitted.kind, fitted.steps) != (sampler.kind, sampler.steps):
        return f"fitted for {fitted.kind} of {fitted.steps} step{'s' * (fitted.steps != 1)}"
    if calibration.samples != samples:
        return f"fitted for {calibration.samples} samples"
    at = calibration.dose_fraction
    if dose is not None and at is not None and not math.isclose(dose, at, rel_tol=1e-3):
        return f"fitted at a dose of {at:.3g}"
    return ""


def _scores(voxels: Voxels) -> Array64:
    """|error| / std; 0 if both are 0, infinite if only the std is 0."""
    error, std = voxels.error.astype(np.float64), voxels.std.astype(np.float64)
    scores = np.divide(error, std, out=np.full_like(error, np.inf), where=std > 0)
    scores[error == 0] = 0.0
    return scores


def _pooled(values: Sequence[Array64]) -> tuple[Array64, Array64]:
    """All subjects' values and their weights, which sum to 1, with the same sum for each subject."""
    if not values:
        raise InputError("there is no subject to calibrate on")
    weights = [np.full(len(each), 1 / (len(values) * len(each))) for each in values]
    return np.concatenate(values), np.concatenate(weights)
