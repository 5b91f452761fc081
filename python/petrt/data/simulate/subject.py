"""Simulates one scan: a phantom measured by the scanner at full and reduced dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petrt import values
from petrt.arrays import Array
from petrt.data.simulate import scanner
from petrt.data.simulate.phantom import make_phantom
from petrt.errors import UsageError
from petrt.values import real, whole

Shape = tuple[int, int, int]

DOSES = (4, 10, 20, 50, 100)
"""Dose reductions of the challenge data: 1/4 to 1/100 of the full dose."""

FWHM_MM = (4.0, 6.0)
"""Range of the scanner's point spread function (FWHM, mm); each subject draws one."""


# Larger integers are split into words, so two pairs of a seed and a subject could be equal.
MOST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Subject:
    """One simulated scan; volumes are [X,Y,Z] float32 in Bq/ml on one RAS+ grid.

    full      reconstruction at full dose
    low       reconstructions at 1/dose, by dose
    truth     the noise-free activity at the scanner's resolution (point spread and post filter)
    activity  the activity itself, before any blurring
    labels    uint8: 0 outside and skull, 1 grey, 2 white, 3 csf, 4 scalp and other, 5 lesion
    affine    [4,4], millimetres; the centre of the grid is the origin
    """

    full: Array
    low: dict[int, Array]
    truth: Array
    activity: Array
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]


def simulate_subject(
    seed: int,
    subject: int = 0,
    *,
    doses: Sequence[int] = (100,),
    shape: Shape = (128, 128, 128),
    voxel_mm: float = 2.0,
) -> Subject:
    """Subject number ``subject`` of ``seed``. The same arguments give bit-equal volumes.

    A volume depends only on (seed, subject, dose, grid). Raises UsageError for an unknown dose, a seed
    or number outside 0..2^32-1, or a grid out of bounds.
    """
    check_request(seed, subject, doses, shape, voxel_mm)
    anatomy, system, noise = np.random.SeedSequence([seed, subject]).spawn(3)
    phantom = make_phantom(anatomy, shape, voxel_mm)
    fwhm_mm = np.random.default_rng(system).uniform(*FWHM_MM)
    blurred = scanner.blur(phantom.activity, fwhm_mm, voxel_mm)
    mean, randoms = scanner.expected_counts(blurred, voxel_mm)
    counts = scanner.draw_counts(_stream(noise, 1), mean)
    low = {}
    for dose in sorted(set(doses)):
        thinned = scanner.thin_counts(_stream(noise, dose), counts, dose)
        low[dose] = scanner.reconstruct(thinned, randoms, shape, voxel_mm, dose)
    return Subject(
        full=scanner.reconstruct(counts, randoms, shape, voxel_mm),
        low=low,
        truth=scanner.post_filter(blurred),
        activity=phantom.activity,
        labels=phantom.labels,
        affine=centred_affine(shape, voxel_mm),
    )


def _stream(noise: np.random.SeedSequence, dose: int) -> np.random.Generator:
    """The generator of one dose's counts. Each dose has its own random stream."""
    key = (*noise.spawn_key, dose)
    return np.random.default_rng(np.random.SeedSequence(noise.entropy, spawn_key=key))


def centred_affine(shape: Shape, voxel_mm: float) -> NDArray[np.float64]:
    """RAS+ affine of an isotropic grid whose centre is the origin."""
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = -voxel_mm * (np.asarray(shape) - 1) / 2
    return affine


def check_request(
    seed: int, subject: int, doses: Sequence[int], shape: Sequence[int], voxel_mm: float
) -> None:
    """Raise UsageError unless a subject can be simulated from these arguments."""
    for name, value in (("seed", seed), ("subject", subject)):
        try:
            whole(name, value, 0, MOST_SEED)
        except UsageError as error:
            text = f"the {name} is {values.shown(value)}"
            raise UsageError(text, f"choose a whole number from 0 to {MOST_SEED}") from error
    unknown = sorted(set(doses) - set(DOSES))
    if unknown:
        known = ", ".join(map(str, DOSES))
        raise UsageError(f"dose reduction {unknown[0]} is not simulated", f"choose from {known}")
    if len(shape) != 3 or min(shape[:2]) < 16 or shape[2] < 1 or max(shape) > 512:
        raise UsageError(
            f"cannot simulate a grid of {' x '.join(map(str, shape))} voxels",
            "use 16 to 512 voxels along x and y, 1 to 512 along z",
        )
    real("the voxel size", voxel_mm, 0.5, 16, unit="mm")
