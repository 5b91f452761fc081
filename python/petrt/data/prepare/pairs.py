"""Checks that a low- and a full-dose volume are a pair: same grid, patient and unit, same image except noise.

The reason of a refusal names no file and no patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from petrt.data.prepare.scan import LoadedScan
from petrt.errors import InputError, way
from petrt.imaging.scaling import scale_of
from petrt.model.spec import ScaleRule

# Largest distance in voxels between the corners of two equal grids, since headers round.
GRID_TOLERANCE = 0.01
# Largest relative difference of the total activities of a pair, which are from one scan.
ACTIVITY_TOLERANCE = 0.25
# A volume at a lower dose may be less noisy by this factor, by chance.
NOISE_TOLERANCE = 0.9
# Size of the blocks that average out the noise. Two doses of one scan then have a correlation of 0.99 or
# more (simulated brains at 1/100), two subjects or a mirrored volume 0.8 or less.
BLOCK_MM = 12.0
LOWEST_CORRELATION = 0.9
FEWEST_BLOCKS = 30
# Noise is measured in voxels above this fraction of the scale; number of planes and voxels needed.
ACTIVE_SHARE = 0.2
NOISE_PLANES = 48
NOISE_VOXELS = 200
# Median absolute value of N(0, 1).
NORMAL_MEDIAN = 0.6745


@dataclass(frozen=True)
class Facts:
    """The numbers of a volume that the checks need, so that its voxels can be freed.

    ``scale``: of petrt.imaging.scaling.scale_of. ``noise``: relative to the mean level, None if too few
    voxels are active. ``active``: the voxels in which it is measured. ``blocks``: sums over blocks of
    BLOCK_MM. ``busy``: the blocks with activity.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    scale: float
    total: float
    peak: float
    noise: float | None
    active: NDArray[np.bool_]
    blocks: NDArray[np.float32]
    busy: NDArray[np.bool_]
    unit: str | None
    patient: str | None
    frame: str | None


def measure(loaded: LoadedScan, rule: ScaleRule, reference: Facts | None = None) -> Facts:
    """The facts of a volume; a low-dose volume is measured in the active voxels of its ``reference``.

    Raises InputError for a volume that is empty or constant.
    """
    data = loaded.data
    scale = scale_of(data, rule, loaded.voxel_mm)
    if scale == 0:
        raise InputError("empty or constant")
    planes = noise_planes(data)
    active = planes[2:-2] > ACTIVE_SHARE * scale
    if reference is not None and reference.active.shape == active.shape:
        active = reference.active
    counts = [max(1, round(BLOCK_MM / size)) for size in loaded.voxel_mm]
    blocks = block_sums(data, counts)
    return Facts(
        shape=data.shape,
        affine=loaded.affine,
        scale=scale,
        total=float(data.sum(dtype=np.float64)),
        peak=float(data.max()),
        noise=noise_level(planes, active),
        active=active,
        blocks=blocks,
        busy=blocks > ACTIVE_SHARE * scale * math.prod(counts),
        unit=None if loaded.unit is None else plain_unit(loaded.unit),
        patient=loaded.patient,
        frame=loaded.frame,
    )


def noise_planes(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Some planes [X, Y, n] of ``data`` [X, Y, Z], evenly spaced along its last axis."""
    return data[:, :, :: max(1, data.shape[2] // NOISE_PLANES)]


def noise_level(planes: NDArray[np.float32], active: NDArray[np.bool_]) -> float | None:
    """Noise / mean level in the ``active`` voxels of ``planes``, from fourth differences along x.

    For white noise of standard deviation s, v[i-2] - 4 v[i-1] + 6 v[i] - 4 v[i+1] + v[i+2] has the
    standard deviation sqrt(70) s. Anatomy is smoother and hardly affects its median absolute value.
    Post filters lower the number, equally for all doses.
    """
    if np.count_nonzero(active) < NOISE_VOXELS:
        return None
    inner = planes[2:-2]
    fourth = planes[:-4] + planes[4:] + 6 * inner - 4 * (planes[1:-3] + planes[3:-1])
    level = float(np.mean(inner[active], dtype=np.float64))
    if level <= 0:
        return None
    return float(np.median(np.abs(fourth[active]))) / NORMAL_MEDIAN / math.sqrt(70) / level


def block_sums(data: NDArray[np.float32], counts: Sequence[int]) -> NDArray[np.float32]:
    """Sums of ``data`` over blocks of ``counts`` voxels; blocks at the far ends may be smaller."""
    for axis, count in enumerate(counts):
        data = np.add.reduceat(data, np.arange(0, data.shape[axis], count), axis=axis)
    return data


def likeness(low: Facts, full: Facts) -> float | None:
    """Correlation of the two in blocks where the full dose is active; None if these are too few."""
    if np.count_nonzero(full.busy) < FEWEST_BLOCKS:
        return None
    return float(np.corrcoef(low.blocks[full.busy], full.blocks[full.busy])[0, 1])


def activity_ratio(low: Facts, full: Facts) -> float | None:
    """Total activity of the low-dose volume / that of the full-dose volume."""
    return low.total / full.total if full.total > 0 else None


def check_pair(low: Facts, full: Facts, *, any_frame: bool = False) -> None:
    """Raise InputError with the reason if the two are not a pair.

    With ``any_frame`` their frames of reference may differ: then grid and likeness must do.
    """
    if not same_grid(low, full):
        raise InputError(f"another grid than the full dose: {grid(low)}, not {grid(full)}")
    if low.patient and full.patient and low.patient != full.patient:
        raise InputError("another patient than the full dose's")
    if low.frame and full.frame and low.frame != full.frame and not any_frame:
        raise InputError(
            "another frame of reference than the full dose's",
            way(
                "any_frame",
                "",
                "takes them as one acquisition, if an anonymiser drew its UIDs anew",
            ),
        )
    if low.unit and full.unit and low.unit != full.unit:
        raise InputError(f"in {low.unit}, the full dose in {full.unit}", "convert one of them")
    if (low.total, low.peak, low.noise) == (full.total, full.peak, full.noise):
        raise InputError("the same volume as the full dose")
    ratio = activity_ratio(low, full)
    if ratio is None or abs(ratio - 1) > ACTIVITY_TOLERANCE:
        shown = "undefined" if ratio is None else f"{ratio:.3g}"
        raise InputError(
            f"total activity over the full dose's is {shown}, not near 1",
            "check for another scan, another unit, or a missing dose correction",
        )
    alike = likeness(low, full)
    if alike is not None and not alike >= LOWEST_CORRELATION:
        raise InputError(
            f"unlike the full dose (correlation {alike:.2f} in blocks of {BLOCK_MM:g} mm)",
            "another patient or scan, or mirrored?",
        )
    if low.noise is not None and full.noise is not None and quieter(low.noise, full.noise):
        raise InputError(
            f"less noisy ({low.noise:.3g}) than the full dose ({full.noise:.3g})",
            "are the two swapped?",
        )


def quieter(noise: float, other: float) -> bool:
    """Whether ``noise`` at a lower dose is too low compared with ``other`` at a higher dose."""
    return noise < NOISE_TOLERANCE * other


def disordered(noise: dict[int, float | None]) -> dict[int, str]:
    """Dose reduction -> reason, for reductions whose noise does not rise with the reduction."""
    reasons: dict[int, str] = {}
    known = sorted((dose, level) for dose, level in noise.items() if level is not None)
    for (more, low), (less, high) in combinations(known, 2):
        if quieter(high, low):
            reason = f"1/{less} is less noisy ({high:.3g}) than 1/{more} ({low:.3g})"
            reasons.setdefault(more, f"{reason}; is one mislabelled?")
            reasons.setdefault(less, f"{reason}; is one mislabelled?")
    return reasons


def same_grid(a: Facts, b: Facts) -> bool:
    """Whether both have the same grid, to a hundredth of a voxel."""
    if a.shape != b.shape:
        return False
    corners = np.array([(x, y, z, 1) for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    corners[:, :3] *= np.array(a.shape) - 1
    apart = float(np.abs(corners @ (a.affine - b.affine).T).max())
    return apart <= GRID_TOLERANCE * float(np.linalg.norm(a.affine[:3, :3], axis=0).min())


def grid(facts: Facts) -> str:
    """Shape, voxel size and origin as text."""
    sizes = np.linalg.norm(facts.affine[:3, :3], axis=0)
    shape, size, origin = (
        form.join(f"{n:.5g}" for n in numbers)
        for form, numbers in (("x", facts.shape), ("x", sizes), (", ", facts.affine[:3, 3]))
    )
    return f"{shape} voxels of {size} mm from ({origin})"


def plain_unit(unit: str) -> str:
    """A unit in one spelling: BQML, Bq/mL and Bq/ml are the same."""
    plain = unit.strip().lower().replace(" ", "")
    return {"bqml": "bq/ml", "bq/cc": "bq/ml", "bq/cm3": "bq/ml"}.get(plain, plain)
