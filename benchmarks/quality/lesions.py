"""Lesions that a method makes up, and lesions that it loses, in simulated brains with known ones.

Brains are slabs of simulated subjects without lesions: those that a subject has are filled with what is
around them. S is an image after a
Gaussian of 2.5 mm, sigma the standard deviation of S(full dose) - S(noise-free) by fifths of the brain's
noise-free activity. Folds of the cortex that are a little out of place are no lesions, so a spot is compared
with the hottest (coldest) S of the noise-free image within ``NEAR_MM``:

    false hot lesion      connected, ``LEAST_ML`` or more, S(image) above that maximum by more than 3 sigma
    false cold lesion     S(image) below that minimum by more than 3 sigma
    lost lesion           a hot one was inserted, and S(image) at its centre is not above that maximum of the
                          noise-free image without it by more than 3 sigma

The full dose itself is counted beside the methods: some voxels pass 3 sigma by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.quality.store import Measured
from petrt.arrays import Array
from petrt.data.simulate import scanner
from petrt.data.simulate.phantom import CSF, GREY, LESION, OTHER, WHITE, make_phantom
from petrt.data.simulate.subject import centred_affine
from petrt.inference.reconstructor import Reconstructor

SEED = 77_000  # of no other subject
SHAPE, VOXEL_MM, FWHM_MM = (128, 128, 24), 2.0, 5.0
EDGE = 4  # slices at each end that are not counted: their neighbours are missing
SPOT_MM, NEAR_MM = 2.5, 6.0
SIGMAS = 3.0
LEAST_ML = 0.1
INSERTED = ((8.0, 1.5), (10.0, 1.3), (10.0, 2.0), (15.0, 1.5))  # mm, times grey matter
APART_MM = 24.0
GAUSSIAN_MM = 3.4  # FWHM 8 mm
FULL, LOW, FILTER, COARSE, OUTPUT = "full dose", "low dose", "Gaussian, 8 mm", "coarse", "output"


@dataclass(frozen=True)
class Brain:
    """Volumes [X, Y, Z] in Bq/ml: noise-free at the scanner's resolution, full and low dose."""

    truth: Array
    full: Array
    low: Array


@dataclass(frozen=True)
class Lesion:
    """Centre (voxels), diameter, and activity in units of grey matter's."""

    centre: tuple[int, int, int]
    diameter_mm: float
    contrast: float


def spot(volume: Array) -> Array:
    """S of ``volume`` [X, Y, Z]."""
    return np.asarray(ndimage.gaussian_filter(volume, SPOT_MM / VOXEL_MM))


def near(volume: Array) -> tuple[Array, Array]:
    """Lowest and highest of ``volume`` within ``NEAR_MM`` of each voxel."""
    reach = int(NEAR_MM / VOXEL_MM)
    ball = (np.indices([2 * reach + 1] * 3) - reach).astype(np.float64)
    inside = (ball**2).sum(0) <= (NEAR_MM / VOXEL_MM) ** 2
    lowest = ndimage.minimum_filter(volume, footprint=inside)
    return lowest, ndimage.maximum_filter(volume, footprint=inside)


def without_lesions(activity: Array, labels: NDArray[np.uint8]) -> Array:
    """``activity`` with lesions filled by the mean of the brain around them, weighted by a Gaussian."""
    healthy = ((labels == GREY) | (labels == WHITE)).astype(np.float32)
    weight = ndimage.gaussian_filter(healthy, 5.0 / VOXEL_MM)
    mean = ndimage.gaussian_filter(healthy * activity, 5.0 / VOXEL_MM) / np.maximum(weight, 1e-6)
    lesion = ndimage.binary_dilation(labels == LESION)  # its edge is partly lesion
    return np.where(lesion & (weight > 1e-3), mean, activity).astype(np.float32)


def inserted(activity: Array, lesions: list[Lesion], grey: float) -> Array:
    """``activity`` with hot spheres, their edge one voxel wide."""
    out = activity.copy()
    index = np.indices(activity.shape)
    for lesion in lesions:
        away = np.sqrt(sum((i - c) ** 2 for i, c in zip(index, lesion.centre, strict=True)))
        share = np.clip(lesion.diameter_mm / 2 / VOXEL_MM - away + 0.5, 0, 1)
        out += (share * (lesion.contrast * grey - out)).astype(np.float32)
    return out


def scanned(activity: Array, seed: list[int], dose: int) -> Brain:
    """``activity`` through the scanner at full dose and 1/``dose``."""
    blurred = scanner.blur(activity, FWHM_MM, VOXEL_MM)
    mean, randoms = scanner.expected_counts(blurred, VOXEL_MM)
    counts = scanner.draw_counts(np.random.default_rng([*seed, 1]), mean)
    thinned = scanner.thin_counts(np.random.default_rng([*seed, dose]), counts, dose)
    return Brain(
        scanner.post_filter(blurred),
        scanner.reconstruct(counts, randoms, SHAPE, VOXEL_MM),
        scanner.reconstruct(thinned, randoms, SHAPE, VOXEL_MM, dose),
    )


def sigma_of(error: Array, truth: Array, brain: NDArray[np.bool_]) -> Array:
    """The noise of S at full dose [X, Y, Z]: by fifths of the noise-free activity in the brain."""
    edges = np.quantile(truth[brain], (0.2, 0.4, 0.6, 0.8))
    fifth = np.digitize(truth, edges)
    levels = np.array([error[brain & (fifth == k)].std() for k in range(5)], np.float32)
    return np.asarray(levels[fifth])


def measure(number: int, dose: int, run: Reconstructor) -> Measured:
    """Brain ``number`` without and with inserted lesions: counts of each image."""
    made = make_phantom(np.random.SeedSequence([SEED, number]), SHAPE, VOXEL_MM)
    labels = made.labels
    healthy = without_lesions(made.activity, labels)
    grey = float(np.median(healthy[labels == GREY]))
    brain = ndimage.binary_erosion((labels > 0) & (labels != OTHER) & (labels != CSF), iterations=2)
    brain[:, :, :EDGE] = brain[:, :, -EDGE:] = False
    plain = scanned(healthy, [SEED, number], dose)
    truth = spot(plain.truth)
    sigma = sigma_of(spot(plain.full) - truth, plain.truth, brain)
    lowest, highest = near(truth)
    measured = Measured()
    for name, image in _images(plain, run, dose).items():
        seen = spot(image)
        measured.methods[name] = {
            "false hot": _spots(seen - highest, sigma, brain),
            "false cold": _spots(lowest - seen, sigma, brain),
            "activity_ratio": float(image.sum(dtype=np.float64) / plain.low.sum(dtype=np.float64)),
        }
    lesions = _placed(brain, np.random.default_rng([SEED, number, 2]))
    ill = scanned(inserted(healthy, lesions, grey), [SEED, number, 3], dose)
    for name, image in _images(ill, run, dose).items():
        seen, expected = spot(image), spot(ill.truth)
        for lesion in lesions:
            key = f"{lesion.diameter_mm:g} mm x{lesion.contrast:g}"
            at = lesion.centre
            measured.methods[name][f"lost {key}"] = float(
                seen[at] - highest[at] < SIGMAS * sigma[at]
            )
            measured.methods[name][f"recovery {key}"] = float(
                (seen[at] - truth[at]) / (expected[at] - truth[at])
            )
    return measured


def record(kept: Mapping[str, Measured]) -> dict[str, Any]:
    """Sums over brains: false lesions, brains with any; share of inserted lesions that are lost, and the
    mean part of their height that is recovered."""
    found: dict[str, Any] = {}
    for name in next(iter(kept.values())).methods:
        rows = [measured.methods[name] for measured in kept.values()]
        found[name] = {
            "brains": len(rows),
            **{key: int(sum(row[key] or 0 for row in rows)) for key in ("false hot", "false cold")},
            "brains with false hot": sum(bool(row["false hot"]) for row in rows),
            "activity_ratio": _mean(rows, "activity_ratio"),
        }
        for key in sorted({key for row in rows for key in row if key.startswith(("lost", "reco"))}):
            found[name][key] = _mean(rows, key)
    return found


def _images(brain: Brain, run: Reconstructor, dose: int) -> dict[str, Array]:
    done = run(
        brain.low, affine=centred_affine(SHAPE, VOXEL_MM), dose=1 / dose, allow_activity_change=True
    )
    return {
        FULL: brain.full,
        LOW: brain.low,
        FILTER: ndimage.gaussian_filter(brain.low, GAUSSIAN_MM / VOXEL_MM),
        COARSE: np.maximum(done.coarse, 0),
        OUTPUT: done.image,
    }


def _spots(excess: Array, sigma: Array, brain: NDArray[np.bool_]) -> float:
    """Number of connected spots above 3 sigma."""
    spots, count = ndimage.label(brain & (excess > SIGMAS * sigma))
    if not count:
        return 0.0
    voxels = np.bincount(spots.ravel())[1:]
    return float((voxels * VOXEL_MM**3 / 1000 >= LEAST_ML).sum())


def _placed(brain: NDArray[np.bool_], rng: np.random.Generator) -> list[Lesion]:
    """One lesion of each kind in the brain, apart from each other."""
    inside = ndimage.binary_erosion(brain, iterations=3)
    places = rng.permutation(np.argwhere(inside))
    chosen: list[Lesion] = []
    for diameter, contrast in INSERTED:
        for place in places:
            away = [np.linalg.norm(place - np.array(c.centre)) * VOXEL_MM for c in chosen]
            if min(away, default=np.inf) >= APART_MM:
                x, y, z = map(int, place)
                chosen.append(Lesion((x, y, z), diameter, contrast))
                break
    return chosen


def _mean(rows: list[dict[str, float | None]], key: str) -> float | None:
    values = [value for row in rows if (value := row.get(key)) is not None]
    return round(float(np.mean(values)), 4) if values else None
