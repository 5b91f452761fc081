"""What samples say of regions: means over spheres, their errors, and the spread of the samples' means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array, Array64
from petrt.evaluation.calibration import z_value
from petrt.evaluation.metrics import standard_mask

MILLILITRES = (1, 5, 20, 100)
SPHERES = 60  # of each size and subject
INSIDE = 0.9  # of a sphere's voxels are active
LEVEL = 0.9


@dataclass(frozen=True)
class Means:
    """Of the spheres of one size and subject, over the full dose's maximum: error of the mean image's mean,
    and standard deviation (ddof 1) of the samples' means, each [spheres]."""

    error: Array64
    std: Array64


def ball(millilitres: float, voxel_mm: Sequence[float]) -> NDArray[np.int64]:
    """Offsets [N, 3] of the voxels whose centres lie in a sphere of this volume around a voxel's centre."""
    radius = (3000 * millilitres / (4 * math.pi)) ** (1 / 3)  # mm
    reach = [math.floor(radius / size) for size in voxel_mm]
    axes = [np.arange(-n, n + 1) for n in reach]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    far = np.linalg.norm(offsets * np.asarray(voxel_mm), axis=1)
    return offsets[far <= radius]


def places(full: Array, offsets: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """At most SPHERES centres, drawn from those whose sphere lies in the volume and is active. [M, 3]"""
    active = standard_mask(full)
    reach = offsets.max(axis=0)
    inner = tuple(slice(r, n - r) for r, n in zip(reach, full.shape, strict=True))
    candidates = np.argwhere(active[inner]) + reach
    order = np.random.default_rng(seed).permutation(len(candidates))
    found: list[NDArray[np.int64]] = []
    for centre in candidates[order]:
        if active[tuple((centre + offsets).T)].mean() >= INSIDE:
            found.append(centre)
            if len(found) == SPHERES:
                break
    return np.array(found, np.int64).reshape(-1, 3)


def means(samples: Array, full: Array, voxel_mm: Sequence[float]) -> dict[int, Means]:
    """``samples`` [N, X, Y, Z] against ``full`` [X, Y, Z], by millilitres. Sizes without a place are left
    out."""
    found, peak = {}, float(full.max())
    for size in MILLILITRES:
        offsets = ball(size, voxel_mm)
        centres = places(full, offsets)
        if not len(centres):
            continue
        index = tuple((centres[:, None] + offsets).transpose(2, 0, 1))
        each = samples[(slice(None), *index)].mean(axis=-1, dtype=np.float64) / peak
        error = each.mean(axis=0) - full[index].mean(axis=-1, dtype=np.float64) / peak
        found[size] = Means(error, each.std(axis=0, ddof=1))
    return found


def worth(found: dict[int, Means]) -> dict[str, float | None]:
    """By size: rms error in per cent, how much too small the std is, and what 90 % intervals cover, plain and
    with one factor for all sizes, that which covers 90 % of all spheres together."""
    numbers: dict[str, float | None] = {}
    z = z_value(LEVEL)
    error = np.concatenate([np.abs(each.error) for each in found.values()])
    std = np.concatenate([each.std for each in found.values()])
    usable = bool((std > 0).all())
    factor = float(np.quantile(error / std, LEVEL)) / z if usable else None
    numbers["region_factor"] = factor
    for size, each in found.items():
        rms = float(np.sqrt(np.mean(each.error**2)))
        spread = float(np.sqrt(np.mean(each.std**2)))
        size_error = np.abs(each.error)
        numbers |= {
            f"{size}ml.rms": 100 * rms,
            f"{size}ml.ratio": rms / spread if spread else None,
            f"{size}ml.covered": 100 * float(np.mean(size_error <= z * each.std)),
            f"{size}ml.one_factor": None
            if factor is None
            else 100 * float(np.mean(size_error <= z * factor * each.std)),
        }
    return numbers
