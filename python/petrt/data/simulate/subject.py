"""Simulates one scan: a phantom measured by the scanner at full and reduced dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt import values
from petrt.arrays import Array, grid_text
from petrt.data.simulate import scanner as basic
from petrt.data.simulate.phantom import make_phantom
from petrt.data.simulate.varied import Drawn, draw, simulate_varied
from petrt.diffusion.dose import Given, reduction
from petrt.errors import UsageError, called, way
from petrt.values import real, whole

Shape = tuple[int, int, int]

SCANNERS = ("basic", "varied")
"""basic: one scanner, FDG, without attenuation and scatter. varied: drawn per subject (``varied``)."""

DOSES = (4, 10, 20, 50, 100)
"""Dose reductions of the challenge data: 1/4 to 1/100 of the full dose."""

FWHM_MM = (4.0, 6.0)
"""Range of the basic scanner's point spread function (FWHM, mm); each subject draws one."""


# Larger integers are split into words, so two pairs of a seed and a subject could be equal.
MOST_SEED = 2**32 - 1


@dataclass(frozen=True, repr=False)
class Subject:
    """One simulated scan; volumes are [X,Y,Z] float32 in Bq/ml on one RAS+ grid.

    full      reconstruction at full dose
    low       reconstructions at 1/dose, by dose
    truth     without noise: the activity at the scanner's resolution (basic: point spread and post
              filter), or the reconstruction of the mean counts (varied: its expectation)
    activity  the activity itself, before any blurring
    labels    uint8: 0 outside and skull, 1 grey, 2 white, 3 csf, 4 scalp and other, 5 lesion
    affine    [4,4], millimetres; the centre of the grid is the origin
    drawn     what was drawn for the subject, for the varied scanner
    """

    full: Array
    low: dict[int, Array]
    truth: Array
    activity: Array
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    drawn: Drawn | None = None

    def __repr__(self) -> str:
        voxel_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        doses = ", ".join(f"1/{dose}" for dose in self.low)
        return (
            f"Subject({grid_text(self.full.shape, voxel_mm)}, Bq/ml, doses {doses or 'full alone'})"
        )


def simulate_subject(
    seed: int,
    subject: int = 0,
    *,
    doses: Sequence[Given] = (100,),
    shape: Shape = (128, 128, 128),
    voxel_mm: float | None = 2.0,
    scanner: str = "basic",
) -> Subject:
    """Subject number ``subject`` of ``seed``. The same arguments give bit-equal volumes.

    ``doses``: such as 100 or "1/100". ``scanner``: ``basic`` or ``varied`` (docs/simulation.md).
    ``voxel_mm`` None: the grid of the subject's own scanner, for ``varied``; ``shape`` does not count then. A
    volume depends only on (seed, subject,
    dose, grid, scanner). Raises UsageError for an unknown dose or scanner, a seed or number outside
    0..2^32-1, or a grid out of bounds.
    """
    chosen = sorted({d if isinstance(d, int | np.integer) else reduction(d) for d in doses})
    check_request(seed, subject, chosen, shape, voxel_mm, scanner)
    anatomy, system, noise = np.random.SeedSequence([seed, subject]).spawn(3)
    if scanner == "varied" or voxel_mm is None:
        return _varied(anatomy, draw(np.random.default_rng(system)), noise, chosen, shape, voxel_mm)
    phantom = make_phantom(anatomy, shape, voxel_mm)
    fwhm_mm = np.random.default_rng(system).uniform(*FWHM_MM)
    blurred = basic.blur(phantom.activity, fwhm_mm, voxel_mm)
    mean, randoms = basic.expected_counts(blurred, voxel_mm)
    counts = basic.draw_counts(_stream(noise, 1), mean)
    low = {}
    for dose in chosen:
        thinned = basic.thin_counts(_stream(noise, dose), counts, dose)
        low[dose] = basic.reconstruct(thinned, randoms, shape, voxel_mm, dose)
    return Subject(
        full=basic.reconstruct(counts, randoms, shape, voxel_mm),
        low=low,
        truth=basic.post_filter(blurred),
        activity=phantom.activity,
        labels=phantom.labels,
        affine=centred_affine(shape, voxel_mm),
    )


def drawn_parameters(seed: int, subject: int) -> dict[str, Any]:
    """What the varied scanner draws for a subject, and its own grid, for a record."""
    drawn = draw(np.random.default_rng(np.random.SeedSequence([seed, subject]).spawn(3)[1]))
    return asdict(drawn) | {"shape": drawn.shape, "voxel_mm": drawn.voxel_mm}


def _varied(
    anatomy: np.random.SeedSequence,
    drawn: Drawn,
    noise: np.random.SeedSequence,
    doses: Sequence[int],
    shape: Shape,
    voxel_mm: float | None,
) -> Subject:
    streams = [_stream(noise, dose) for dose in (1, *doses)]
    grid = None if voxel_mm is None else (shape, (voxel_mm, voxel_mm, voxel_mm))
    volumes = simulate_varied(anatomy, drawn, streams, doses, grid)
    return Subject(
        full=volumes.full,
        low=volumes.low,
        truth=volumes.truth,
        activity=volumes.activity,
        labels=volumes.labels,
        affine=centred_affine(*(grid or (drawn.shape, drawn.voxel_mm))),
        drawn=drawn,
    )


def _stream(noise: np.random.SeedSequence, dose: int) -> np.random.Generator:
    """The generator of one dose's counts. Each dose has its own random stream."""
    key = (*noise.spawn_key, dose)
    return np.random.default_rng(np.random.SeedSequence(noise.entropy, spawn_key=key))


def centred_affine(shape: Shape, voxel_mm: float | Sequence[float]) -> NDArray[np.float64]:
    """RAS+ affine of a grid whose centre is the origin."""
    sizes = np.broadcast_to(np.asarray(voxel_mm, np.float64), 3)
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = -sizes * (np.asarray(shape) - 1) / 2
    return affine


def check_request(
    seed: int,
    subject: int,
    doses: Sequence[int],
    shape: Sequence[int],
    voxel_mm: float | None,
    scanner: str = "basic",
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
        raise UsageError(
            f"{called('dose')}: a reduction of {unknown[0]} is not simulated",
            f"choose from {known}",
        )
    if len(shape) != 3 or min(shape[:2]) < 16 or shape[2] < 1 or max(shape) > 512:
        raise UsageError(
            f"cannot simulate a grid of {' x '.join(map(str, shape))} voxels",
            "use 16 to 512 voxels along x and y, 1 to 512 along z",
        )
    values.word("the scanner", scanner, SCANNERS)
    if voxel_mm is not None:
        real("the voxel size", voxel_mm, 0.5, 16, unit="mm")
    elif scanner == "basic":
        raise UsageError(
            "the basic scanner has no grid of its own",
            way("scanner", "varied", "draws one that has; or give the voxel size"),
        )
