"""Changes of the activity by a reconstruction: totals, maxima and regions of interest.

Undefined numbers (a ratio over zero) are None, in JSON null; nothing is NaN. Ratios do not depend on the
unit, so a name with "SUV" also applies to Bq/ml.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petrt.arrays import plain
from petrt.errors import InputError, UsageError
from petrt.evaluation.metrics import checked_pair
from petrt.values import shown, sizes

# Radius of SUVpeak's sphere of 1 cm^3: (3 / (4 pi))^(1/3) cm.
PEAK_RADIUS_MM = 10.0 * (3.0 / (4.0 * math.pi)) ** (1.0 / 3.0)


@dataclass(frozen=True)
class Change:
    """``activity_ratio`` = sum(out) / sum(in), ``suvmax_shift_percent`` = 100 (max(out) / max(in) - 1).

    None if the input's sum or maximum is not positive."""

    activity_ratio: float | None
    suvmax_shift_percent: float | None


@dataclass(frozen=True)
class RoiStatistics:
    """Statistics of one region. ``*_bias_percent`` need a reference, contrast numbers a background.

    ``peak``: the largest mean over a 1 cm^3 sphere centred in the region. ``cov``: population standard
    deviation / mean. ``cnr``: (mean - background mean) / background standard deviation.
    ``contrast_recovery``: (mean / background - 1) of the image divided by that of the reference.
    """

    label: int
    voxels: int
    mean: float
    max: float
    std: float
    cov: float | None
    volume_ml: float | None = None
    peak: float | None = None
    cnr: float | None = None
    reference_mean: float | None = None
    reference_max: float | None = None
    reference_peak: float | None = None
    mean_bias_percent: float | None = None
    max_bias_percent: float | None = None
    peak_bias_percent: float | None = None
    contrast_recovery: float | None = None


def change(output: ArrayLike, source: ArrayLike) -> Change:
    """Activity ratio and SUVmax shift of ``output`` against ``source``, arrays of one shape."""
    out, src = plain(output, "output"), plain(source, "source")
    if out.shape != src.shape or out.size == 0:
        raise InputError(f"output {out.shape} and source {src.shape} differ in shape or are empty")
    total, total_source = float(out.sum(dtype=np.float64)), float(src.sum(dtype=np.float64))
    if not (math.isfinite(total) and math.isfinite(total_source)):
        raise InputError("output or source has non-finite voxels, so its activity is undefined")
    ratio = total / total_source if total_source > 0 else None
    return Change(ratio, _bias_percent(float(out.max()), float(src.max())))


def roi_statistics(
    image: ArrayLike,
    labels: ArrayLike,
    *,
    reference: ArrayLike | None = None,
    voxel_mm: Sequence[float] | None = None,
    background: int | None = None,
) -> list[RoiStatistics]:
    """Statistics of ``image`` [X, Y, Z] in each region of ``labels`` [X, Y, Z], by rising label.

    Labels are whole numbers, also as floats; 0 is outside. ``voxel_mm`` (x, y, z) is needed for volumes
    and peaks, ``reference`` [X, Y, Z] for biases, ``background`` (a label) for contrast. Raises
    InputError for differing shapes, non-finite voxels, fractional or missing labels.
    """
    img, ref = checked_pair(image, image if reference is None else reference)
    compact, values = compact_labels(labels, img.shape)
    if background is not None and background not in values:
        raise InputError(f"background label {background} is not among the labels {values}")
    names = ("image",) if reference is None else ("image", "reference")
    tables = {
        name: _measure(volume, compact, len(values), voxel_mm)
        for name, volume in zip(names, (img, ref), strict=False)
    }
    back = None if background is None else values.index(background)
    return [
        _row(value, i, tables["image"], tables.get("reference"), back, voxel_mm)
        for i, value in enumerate(values)
    ]


def peak_map(volume: ArrayLike, voxel_mm: Sequence[float]) -> NDArray[np.float64]:
    """Mean over the 1 cm^3 sphere around each voxel of ``volume`` [X, Y, Z] (spacing in mm).

    A voxel belongs to a sphere if its centre does, as in IBSI's intensity peaks. Voxels beyond the
    volume do not count.
    """
    from scipy.signal import fftconvolve

    spacing = _checked_spacing(voxel_mm)
    data = np.asarray(volume, dtype=np.float64)
    reach = [int(PEAK_RADIUS_MM / step) for step in spacing]
    axes = [np.arange(-r, r + 1) * step for r, step in zip(reach, spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    sphere = (x**2 + y**2 + z**2 <= PEAK_RADIUS_MM**2).astype(np.float64)
    # The sphere is symmetric, so convolution is correlation; padding makes "valid" keep the shape.
    padding = [(r, r) for r in reach]
    total = fftconvolve(np.pad(data, padding), sphere, mode="valid")
    count = fftconvolve(np.pad(np.ones_like(data), padding), sphere, mode="valid")
    return np.asarray(total / np.rint(count))


@dataclass(frozen=True)
class _Table:
    """Arrays with one number per region, in the order of the labels."""

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    max: NDArray[np.float64]
    peak: NDArray[np.float64] | None


def _measure(
    volume: NDArray[np.float64],
    compact: NDArray[np.int64],
    regions: int,
    voxel_mm: Sequence[float] | None,
) -> _Table:
    """Count, mean, standard deviation, maximum and peak in regions 1..``regions`` of ``compact``."""
    from scipy import ndimage

    index = np.arange(1, regions + 1)
    inside = compact > 0
    flat, where = volume[inside], compact[inside]
    count = np.bincount(where, minlength=regions + 1)[1:]
    mean = np.bincount(where, flat, regions + 1)[1:] / count
    largest = np.asarray(ndimage.maximum(flat, where, index))
    constant = largest == ndimage.minimum(flat, where, index)
    mean = np.where(constant, largest, mean)  # exact, so that the standard deviation is exactly 0
    # Two passes, because E[x^2] - E[x]^2 cancels if the deviation is small against the mean.
    std = np.sqrt(np.bincount(where, (flat - mean[where - 1]) ** 2, regions + 1)[1:] / count)
    peak = None
    if voxel_mm is not None:
        box = bounding_box(inside, voxel_mm)
        peak = np.asarray(ndimage.maximum(peak_map(volume[box], voxel_mm), compact[box], index))
    return _Table(count, mean, std, largest, peak)


def _row(
    label: int,
    i: int,
    image: _Table,
    reference: _Table | None,
    back: int | None,
    voxel_mm: Sequence[float] | None,
) -> RoiStatistics:
    """The statistics of region ``i`` from the tables of the image and of the reference."""
    mean, peak = float(image.mean[i]), None if image.peak is None else float(image.peak[i])
    volume = None if voxel_mm is None else float(image.count[i] * np.prod(voxel_mm) / 1000.0)
    row: dict[str, Any] = {
        "label": label,
        "voxels": int(image.count[i]),
        "mean": mean,
        "max": float(image.max[i]),
        "std": float(image.std[i]),
        "cov": _ratio(float(image.std[i]), mean),
        "volume_ml": volume,
        "peak": peak,
    }
    if back is not None and i != back:
        row["cnr"] = _ratio(mean - float(image.mean[back]), float(image.std[back]))
    if reference is not None:
        ref_peak = None if reference.peak is None else float(reference.peak[i])
        row |= {
            "reference_mean": float(reference.mean[i]),
            "reference_max": float(reference.max[i]),
            "reference_peak": ref_peak,
            "mean_bias_percent": _bias_percent(mean, float(reference.mean[i])),
            "max_bias_percent": _bias_percent(float(image.max[i]), float(reference.max[i])),
            "peak_bias_percent": _bias_percent(peak, ref_peak),
        }
        if back is not None and i != back:
            row["contrast_recovery"] = _ratio(
                _contrast(image, i, back), _contrast(reference, i, back)
            )
    return RoiStatistics(**row)


def _contrast(table: _Table, i: int, back: int) -> float | None:
    ratio = _ratio(float(table.mean[i]), float(table.mean[back]))
    return None if ratio is None else ratio - 1.0


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return None if numerator is None or not denominator else numerator / denominator


def _bias_percent(value: float | None, reference: float | None) -> float | None:
    """100 (value / reference - 1); None unless the reference is positive."""
    if value is None or reference is None or reference <= 0:
        return None
    return 100.0 * (value / reference - 1.0)


def compact_labels(
    labels: ArrayLike, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], list[int]]:
    """Labels renumbered 1..n (0 stays), and the n original values in rising order."""
    raw = plain(labels, "labels")
    if raw.shape != shape:
        raise InputError(f"labels {raw.shape} and image {shape} differ in shape")
    if not np.isfinite(raw).all() or (raw != np.rint(raw)).any():
        raise InputError("labels must be whole numbers", "is this an image instead of a label map?")
    values, inverse = np.unique(raw, return_inverse=True)
    inside = values != 0
    if not inside.any():
        raise InputError("the label map is empty: every voxel is 0")
    numbers = np.where(inside, np.cumsum(inside), 0)
    return numbers[inverse.reshape(shape)], [int(v) for v in values[inside]]


def _checked_spacing(voxel_mm: Sequence[float]) -> list[float]:
    try:
        return list(sizes("voxel_mm", voxel_mm))
    except UsageError:
        got = shown(voxel_mm)
        raise InputError(f"voxel size must be three positive lengths in mm, got {got}") from None


def bounding_box(inside: NDArray[np.bool_], voxel_mm: Sequence[float]) -> tuple[slice, ...]:
    """The smallest box around ``inside`` that holds the spheres of its peaks, within the volume."""
    margin = [math.ceil(PEAK_RADIUS_MM / step) for step in _checked_spacing(voxel_mm)]
    box = []
    for axis, extra in enumerate(margin):
        line = np.flatnonzero(inside.any(axis=tuple(a for a in range(inside.ndim) if a != axis)))
        box.append(slice(max(int(line[0]) - extra, 0), int(line[-1]) + 1 + extra))
    return tuple(box)
