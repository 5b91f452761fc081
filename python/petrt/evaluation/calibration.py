"""Does the spread of the samples say how far the image is off? Coverage, and the factor that makes it so.

A reconstruction's interval at ``level`` is mean +- z(level) * factor * std, with z the two-sided normal
quantile. It covers a voxel where ``|mean - full dose| <= z * factor * std``. The factor is found in
closed form: z * factor is the ``level`` quantile of the scores ``|mean - full dose| / std`` of the active
voxels. That is split conformal prediction with bands of locally varying width (Lei et al.,
"Distribution-free predictive inference for regression", JASA 2018), with z taken out so that factor * std
may be read as a standard deviation. It also pays for what a few samples cannot know: with N independent
exact samples of a normal distribution the scores follow sqrt(1 + 1/N) times Student's t of N - 1 degrees
of freedom (a factor of 1.22 at 90 % for N = 8), so a factor holds for its number of samples.

Every subject counts the same, however many active voxels it has. Errors and standard deviations are in
units of the reference's maximum, as in the protocol ``standard`` of petrt.evaluation.metrics.
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
# Active voxels kept of a subject: a coverage is then known to 0.05 % and a total-body frame fits.
MOST_VOXELS = 1 << 20


@dataclass(frozen=True)
class Voxels:
    """Active voxels of one subject: |error| and sample std [N], in units of the reference's maximum.

    ``active``: how many there were before thinning to N. ``zero_std``: how many of the N have a std of
    0; such a voxel is covered where its error is 0, too, and by no factor otherwise.
    """

    error: NDArray[np.float32]
    std: NDArray[np.float32]
    active: int

    @property
    def zero_std(self) -> int:
        return int(np.count_nonzero(self.std == 0))


@dataclass(frozen=True)
class Coverage:
    """Share of active voxels inside the interval at ``level``: mean over subjects, and its range."""

    level: float
    mean: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class ErrorBin:
    """Voxels of similar std: the root mean square of std and of error, and their share."""

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
    """What calibration needs of one subject; mean, std and full-dose reference of one shape and unit.

    ``mask`` (bool, that shape): default the protocol's, reference > 5 % of its maximum. Of more than
    ``most`` active voxels every k-th is kept. Raises InputError for differing shapes, non-finite or
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
    """The factor with which the interval at ``level`` covers exactly ``level`` of the active voxels.

    Raises InputError where none does: too many voxels of std 0, or no error at all.
    """
    scores, weights = _pooled([_scores(each) for each in subjects])
    order = np.argsort(scores)
    reached = np.cumsum(weights[order])
    # Sums of weights round; one part in 1e12 of all voxels decides nothing.
    index = int(np.searchsorted(reached, level - 1e-12))
    quantile = float(scores[order[min(index, len(order) - 1)]])
    if math.isinf(quantile):
        raise InputError(
            f"the samples agree exactly in too many voxels: no factor covers {level:.0%} of them",
            "more samples or steps, or a model with a working denoiser",
        )
    if quantile == 0:
        raise InputError("the mean equals the full-dose image: there is no error to calibrate to")
    # Rounded up, so that the voxel at the quantile itself lies inside.
    return float(np.nextafter(quantile / z_value(level), np.inf))


def coverage(voxels: Voxels, level: float, factor: float = 1.0) -> float:
    """Share of one subject's active voxels within mean +- z(level) * factor * std."""
    return float(np.mean(_scores(voxels) <= factor * z_value(level)))


def coverage_table(
    subjects: Sequence[Voxels], factor: float = 1.0, levels: Sequence[float] = LEVELS
) -> list[Coverage]:
    """A row for each level: coverage over subjects, each with the same weight."""
    rows = []
    for level in levels:
        each = [coverage(voxels, level, factor) for voxels in subjects]
        rows.append(Coverage(level, float(np.mean(each)), min(each), max(each)))
    return rows


def error_by_std(subjects: Sequence[Voxels], factor: float = 1.0, bins: int = 20) -> list[ErrorBin]:
    """RMS error of voxels of similar factor * std, in ``bins`` of equal weight, std rising.

    A std that means what it says gives error = std in every bin (Levi et al., "Evaluating and
    calibrating uncertainty prediction in regression tasks", Sensors 2022).
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
    sampler: SamplerSpec,
    samples: int,
    dose: float | None = None,
) -> dict[str, Any]:
    """What a std map of such samples is: ``calibrated``, the ``factor`` it is multiplied by, ``level``
    (the share that the factor was fitted for) and, where it is not calibrated, the ``reason``.

    ``dose``: fraction of the full dose where it is known.
    """
    reason = _why_not(calibration, sampler, samples, dose)
    if calibration is None or reason:
        return {"calibrated": False, "factor": 1.0, "level": None, "reason": reason}
    fitted = {"factor": calibration.factor, "level": calibration.level}
    return {"calibrated": True, **fitted, "reason": "fitted for this sampler and these samples"}


def std_description(record: Mapping[str, Any]) -> str:
    """What a std map says of itself in its header (at most 79 characters), from ``std_record``."""
    kind = "std of the samples, not calibrated"
    if record["calibrated"]:
        kind = f"std, calibrated for {100 * record['level']:g} % intervals"
    return f"petrt {kind}; not for diagnostic use"


def _why_not(
    calibration: CalibrationSpec | None, sampler: SamplerSpec, samples: int, dose: float | None
) -> str:
    """Why ``calibration`` does not hold for such samples; "" where it does."""
    if samples < 2:
        return "a single sample has no spread"
    if calibration is None:
        return "the model has no calibration"
    fitted = calibration.sampler
    if (fitted.kind, fitted.steps) != (sampler.kind, sampler.steps):
        return f"fitted for {fitted.kind} of {fitted.steps} steps"
    if calibration.samples != samples:
        return f"fitted for {calibration.samples} samples"
    at = calibration.dose_fraction
    if dose is not None and at is not None and not math.isclose(dose, at, rel_tol=1e-3):
        return f"fitted at a dose of {at:.3g}"
    return ""


def _scores(voxels: Voxels) -> Array64:
    """|error| / std; 0 where both are 0, infinite where only the std is."""
    error, std = voxels.error.astype(np.float64), voxels.std.astype(np.float64)
    scores = np.divide(error, std, out=np.full_like(error, np.inf), where=std > 0)
    scores[error == 0] = 0.0
    return scores


def _pooled(values: Sequence[Array64]) -> tuple[Array64, Array64]:
    """All subjects' values and their weights, which sum to 1, equal from subject to subject."""
    if not values:
        raise InputError("there is no subject to calibrate on")
    weights = [np.full(len(each), 1 / (len(values) * len(each))) for each in values]
    return np.concatenate(values), np.concatenate(weights)
