"""A random head with FDG uptake, in Bq/ml. One ``numpy.random.SeedSequence`` determines a subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.data.simulate.anatomy import Shape, make_anatomy, smooth_noise

Labels = NDArray[np.uint8]

LABELS = {"grey": 1, "white": 2, "csf": 3, "other": 4, "lesion": 5}
"""Values of the label volume; 0 is skull, air and everything outside."""
GREY, WHITE, CSF, OTHER, LESION = LABELS.values()

# MNI centre of the right one (mm; the left mirrors it), Gaussian sigma (mm), mean uptake factor
REGIONS: dict[str, tuple[tuple[float, float, float], float, float]] = {
    "frontal": ((30, 42, 18), 20, 1.03),
    "superior frontal": ((18, 18, 56), 16, 1.02),
    "motor": ((40, -16, 52), 15, 1.00),
    "parietal": ((38, -56, 46), 17, 1.00),
    "temporal": ((58, -24, -10), 17, 0.95),
    "temporal pole": ((42, 12, -30), 14, 0.88),
    "medial temporal": ((25, -18, -18), 10, 0.75),
    "occipital": ((12, -86, 6), 16, 1.12),
    "posterior cingulate": ((6, -50, 28), 11, 1.15),
    "insula": ((38, 4, 2), 11, 1.00),
    "caudate": ((13, 12, 10), 7, 1.18),
    "putamen": ((26, 4, 0), 8, 1.22),
    "thalamus": ((11, -18, 8), 8, 1.10),
    "cerebellum": ((24, -62, -38), 20, 0.85),
}


@dataclass(frozen=True)
class Phantom:
    """Activity [X,Y,Z] float32 in Bq/ml before any blurring, and the label of each voxel."""

    activity: Array
    labels: Labels


def make_phantom(seed: np.random.SeedSequence, shape: Shape, voxel_mm: float) -> Phantom:
    """The subject of ``seed`` on an RAS+ grid of isotropic ``voxel_mm``, its head centred."""
    # One random stream per part, so a change to one part does not change the others.
    warp, uptake, texture, lesions = (np.random.default_rng(s) for s in seed.spawn(4))
    head = make_anatomy(warp, texture, shape, voxel_mm)
    brain, soft = head.brain, head.soft
    grey, white, csf = head.grey, head.white, head.csf

    level = draw_uptake(uptake)
    factor = regional_factor(uptake, head.inside)
    factor *= 1 + 0.04 * smooth_noise(uptake, shape, 14 / voxel_mm)[brain]
    white_factor = 1 + 0.05 * smooth_noise(uptake, shape, 14 / voxel_mm)[brain]
    soft_factor = 1 + 0.25 * smooth_noise(uptake, shape, 8 / voxel_mm)
    activity = level["soft"] * np.maximum(soft_factor, 0) * soft
    activity[brain] += (
        level["grey"] * factor * grey + level["white"] * white_factor * white + level["csf"] * csf
    )
    labels = label_tissues(brain, grey, white, csf, soft)
    add_lesions(lesions, activity, labels, level["grey"], voxel_mm)
    return Phantom(activity, labels)


def draw_uptake(rng: np.random.Generator) -> dict[str, float]:
    """Activities in Bq/ml: grey near 25e3, white a quarter of it, soft tissue a sixth."""
    grey = 25e3 * float(np.exp(0.15 * rng.standard_normal()))
    return {
        "grey": grey,
        "white": grey / rng.uniform(3.4, 4.8),
        "csf": grey * rng.uniform(0.02, 0.06),
        "soft": grey * rng.uniform(0.12, 0.22),
    }


def regional_factor(
    rng: np.random.Generator,
    mni: Array,
    means: Mapping[str, float] | None = None,
    lowered_share: float = 0.4,
) -> Array:
    """Relative uptake [N] of grey matter at ``mni`` [3,N]: regions, asymmetry, hypometabolism.

    A region is a Gaussian in MNI space. Its height is its mean factor (``means``, by region; that of FDG
    if not given) with 6 % variation per person and 3 % per side. ``lowered_share`` of the people have
    one or two regions lowered by 15-45 %.
    """
    lowered = np.ones((len(REGIONS), 2))
    if rng.random() < lowered_share:
        for region in rng.choice(len(REGIONS), size=rng.integers(1, 3), replace=False):
            sides = [[0], [1], [0, 1]][rng.integers(3)]
            lowered[region, sides] = 1 - rng.uniform(0.15, 0.45)
    factor = np.ones(mni.shape[1:], np.float32)
    for (name, (centre, sigma, fdg)), low in zip(REGIONS.items(), lowered, strict=True):
        mean = fdg if means is None else means[name]
        person = rng.normal(0, 0.06)
        for side, sign in enumerate((1, -1)):
            height = (mean + person + rng.normal(0, 0.03)) * low[side] - 1
            where = np.array([sign * centre[0], *centre[1:]], np.float32)
            squared = ((mni - where[:, None]) ** 2).sum(axis=0)
            factor += np.float32(height) * np.exp(squared * np.float32(-0.5 / sigma**2))
    return np.maximum(factor, np.float32(0.2))


def label_tissues(
    brain: NDArray[np.bool_], grey: Array, white: Array, csf: Array, soft: Array
) -> Labels:
    """The most abundant tissue of each voxel [X,Y,Z]; 0 for skull or air.

    ``grey``, ``white`` and ``csf`` [N] belong to the voxels of the mask ``brain``.
    """
    labels = np.where(soft > 0.5, OTHER, 0).astype(np.uint8)
    beside = soft[brain]
    skull = 1 - grey - white - csf - beside
    order = np.array([0, GREY, WHITE, CSF, OTHER], np.uint8)
    labels[brain] = order[np.argmax([skull, grey, white, csf, beside], axis=0)]
    return labels


def add_lesions(
    rng: np.random.Generator, activity: Array, labels: Labels, grey: float, voxel_mm: float
) -> None:
    """Add 2 to 6 ellipsoids of 6-20 mm to the brain and label them, in place.

    Hot lesions have 1.3-2 times the activity ``grey``, cold ones 0.02-0.25 times.
    """
    brain = np.flatnonzero((labels == GREY) | (labels == WHITE))
    count = int(rng.integers(2, 7)) if brain.size else 0
    for _ in range(count):
        place, hot = rng.random(), rng.random() < 0.6
        level = grey * (rng.uniform(1.3, 2.0) if hot else rng.uniform(0.02, 0.25))
        radii = rng.uniform(6, 20) / 2 * rng.uniform(0.8, 1.25, 3)
        centre = np.unravel_index(brain[int(place * brain.size)], labels.shape)
        paint_lesion(activity, labels, centre, radii / voxel_mm, level)


def paint_lesion(
    activity: Array,
    labels: Labels,
    centre: tuple[np.intp, ...],
    radii: NDArray[np.float64],
    level: float,
) -> None:
    """Fill an ellipsoid of ``radii`` voxels with the activity ``level`` and label it, in place.

    It keeps inside the brain.
    """
    reach = np.ceil(radii).astype(int) + 1
    window = tuple(slice(max(c - r, 0), c + r + 1) for c, r in zip(centre, reach, strict=True))
    weight = _ellipsoid(labels.shape, window, centre, radii)
    weight *= (labels[window] > 0) & (labels[window] != OTHER)
    activity[window] += (weight * (level - activity[window])).astype(np.float32)
    labels[window][weight > 0.5] = LESION


def _ellipsoid(
    shape: Shape, window: tuple[slice, ...], centre: tuple[np.intp, ...], radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The fraction of each voxel of ``window`` inside an ellipsoid (all in voxels of ``shape``).

    A linear edge of one voxel approximates the partial volume of the boundary.
    """
    squared = np.zeros(())
    for axis, (part, c, r) in enumerate(zip(window, centre, radii, strict=True)):
        along = ((np.arange(*part.indices(shape[axis])) - c) / r) ** 2
        squared = squared + along.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.clip((1 - np.sqrt(squared)) * radii.mean() + 0.5, 0, 1)
