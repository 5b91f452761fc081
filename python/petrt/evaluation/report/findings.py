"""The numbers of a report: noise, hot spots, a line profile, the spectrum of the residual, regions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array, Array64
from petrt.evaluation.activity import PEAK_RADIUS_MM, peak_map, roi_statistics
from petrt.evaluation.calibration import z_value
from petrt.evaluation.metrics import standard_mask
from petrt.evaluation.noise_level import signature
from petrt.evaluation.report.case import Case
from petrt.evaluation.report.layers import body_box
from petrt.imaging.scaling import smoothed

LEVEL = 0.9  # of all intervals
SPOTS = 6
SEARCH_MM = 4.0  # sigma of the Gaussian that hot spots are looked for in
APART_MM = 25.0  # between hot spots
NEAR_MM = 10.0  # a spot's maximum and peak are looked for within this distance, in every volume
CUBE_MM = 20.0  # regions where no labels are given
BODY = 0.05  # of the display window: what a spectrum is taken of


@dataclass(frozen=True)
class Measured:
    """Maximum and peak (mean of 1 ml) of a hot spot in one volume; ``interval``: half-widths of both."""

    maximum: float
    peak: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Spot:
    """A hot spot: its place ``at`` in mm (RAS), the voxel, and what each volume holds there."""

    at: tuple[float, float, float]
    voxel: tuple[int, int, int]
    input: Measured
    output: Measured
    reference: Measured | None


@dataclass(frozen=True)
class Profile:
    """Values along x through ``at`` (mm, RAS); ``mm``: places of the values. ``half``: half-width of the
    intervals of ``output``."""

    at: tuple[float, float, float]
    mm: Array64
    lines: dict[str, Array]
    half: Array | None


@dataclass(frozen=True)
class Spectrum:
    """By spatial frequency (1/cm), averaged over directions, with R = input - output the residual.

    ``amplitudes``: root mean squares of input, output, residual and reference. ``damped``:
    Re<R O*> / sqrt(<|I|^2> <|O|^2>), the share of the input that is like the output and left in the
    residual: 1 - w for a filter that multiplies a frequency by w, 0 for a residual of pure noise. ``lost``:
    Re<R F*> / <|F|^2>, the share of the full dose F that is left in the residual; None without reference.
    """

    per_cm: Array64
    amplitudes: dict[str, Array64]
    damped: Array64
    lost: Array64 | None


@dataclass(frozen=True)
class Regions:
    """Means of regions in output and reference; ``what`` they are."""

    what: str
    output: Array64
    reference: Array64


def noise_percent(volume: Array, case: Case) -> float | None:
    """Standard deviation of the noise in hot tissue, % of the hottest level (noise_level.signature)."""
    x, y, z = case.voxel_mm
    found = signature(np.ascontiguousarray(volume.T), (z, y, x))
    return None if found is None else 100 * math.exp(found.level)


def hot_spots(case: Case, count: int = SPOTS) -> list[Spot]:
    """The hottest places of a ``case`` in RAS, by falling peak, at least 25 mm apart.

    They are looked for in the mean of input and output, so neither noise alone nor the model alone decides.
    """
    middle = ((case.input + case.output) / 2).astype(np.float32)
    left = smoothed(middle, [SEARCH_MM / mm for mm in case.voxel_mm], 1)
    least = 0.3 * float(left.max())
    spots: list[Spot] = []
    while len(spots) < count:
        index = np.unravel_index(int(np.argmax(left)), left.shape)
        voxel = int(index[0]), int(index[1]), int(index[2])
        if not left[voxel] > max(least, 0):
            break
        spots.append(_spot(case, voxel))
        _clear(left, voxel, case.voxel_mm)
    return sorted(spots, key=lambda spot: -spot.output.peak)


def line_profile(case: Case, voxel: tuple[int, int, int]) -> Profile:
    """The volumes along x through ``voxel``."""
    _, y, z = voxel
    lines = {
        name: volume[:, y, z]
        for name, volume in case.volumes.items()
        if name not in ("std", "labels", *_twice(case))
    }
    half = None
    if case.std is not None and case.calibrated:
        half = np.float32(z_value(LEVEL)) * case.std[:, y, z]
    x = np.arange(case.output.shape[0])
    voxels = np.stack([x, np.full_like(x, y), np.full_like(x, z), np.ones_like(x)])
    return Profile(_place(case, voxel), np.asarray(case.affine @ voxels)[0], lines, half)


def residual_spectrum(case: Case, top: float) -> Spectrum | None:
    """Spectra of the body, tapered at its edges; None for a volume too small for two frequencies."""
    box = body_box(case, BODY * top)
    shape, size = case.output[box].shape, case.voxel_mm
    taper = np.ones(())
    for n in shape:  # Tukey's window, an eighth at each side
        edge = np.minimum((np.arange(n) + 0.5) / max(n / 8, 1), 1.0)
        taper = np.multiply.outer(taper, np.sin(np.pi / 2 * np.minimum(edge, edge[::-1])) ** 2)
    known = [name for name in ("input", "output", "reference") if name in case.volumes]
    names = [name for name in known if name not in _twice(case)]
    waves: dict[str, NDArray[np.complex128]] = {
        name: np.fft.rfftn(case.volumes[name][box] * taper) for name in names
    }
    waves["residual"] = waves["input"] - waves["output"]
    # Rings as wide as the longest axis resolves, up to the highest frequency that every axis has.
    width = 10 / min(max(n * mm for n, mm in zip(shape, size, strict=True)), 160.0)
    edges = np.arange(width / 2, min(5.0 / mm for mm in size) + 1e-9, width)
    if len(edges) < 3:
        return None
    x, y, z = (mm / 10 for mm in size)
    axes = [np.fft.fftfreq(shape[0], x), np.fft.fftfreq(shape[1], y), np.fft.rfftfreq(shape[2], z)]
    squares = [axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)]
    ring = np.digitize(np.sqrt(squares[0] + squares[1] + squares[2]), edges).ravel()
    count = np.maximum(np.bincount(ring, minlength=len(edges) + 1), 1)

    def mean(one: str, other: str) -> Array64:
        product = (waves[one] * np.conj(waves[other])).real.ravel()
        return np.asarray(np.bincount(ring, product, len(edges) + 1) / count)[1:-1]

    power = {name: mean(name, name) for name in waves}
    damped = _share(mean("residual", "output"), np.sqrt(power["input"] * power["output"]))
    lost = None
    if "reference" in waves:
        lost = _share(mean("residual", "reference"), power["reference"])
    amplitudes: dict[str, Array64] = {name: np.sqrt(values) for name, values in power.items()}
    return Spectrum((edges[:-1] + edges[1:]) / 2, amplitudes, damped, lost)


def _twice(case: Case) -> tuple[str, ...]:
    """The volumes that are shown under another name."""
    return () if case.base == "input" else ("reference",)


def _share(part: Array64, whole: Array64) -> Array64:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def regions(case: Case) -> Regions | None:
    """Means of the label map's regions, or of cubes of 2 cm within the active volume. None without a
    reference or regions."""
    if case.reference is None:
        return None
    labels, what = case.labels, "regions of the label map"
    if labels is None:
        labels, what = _cubes(case.reference, case.voxel_mm), "cubes of 2 cm"
    if not (np.asarray(labels) != 0).any():
        return None
    rows = roi_statistics(case.output, labels, reference=case.reference)
    means = [(row.mean, row.reference_mean or 0.0) for row in rows]
    out, ref = np.array(means).T
    return Regions(what, out, ref)


def _cubes(reference: Array, voxel_mm: tuple[float, float, float]) -> NDArray[np.int64]:
    """A label for each cube that lies within the active volume by more than half."""
    if not reference.max() > 0:
        return np.zeros(reference.shape, np.int64)
    inside = standard_mask(reference)
    labels = np.ones(reference.shape, np.int64)
    for axis, (n, mm) in enumerate(zip(reference.shape, voxel_mm, strict=True)):
        step = max(round(CUBE_MM / mm), 1)
        shape = [1, 1, 1]
        shape[axis] = n
        labels = labels * (n // step + 1) + (np.arange(n) // step).reshape(shape)
    _, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(reference.shape) + 1
    share = np.bincount(compact.ravel(), inside.ravel()) / np.maximum(
        np.bincount(compact.ravel()), 1
    )
    return np.asarray(np.where((share > 0.5)[compact], compact, 0))


def _spot(case: Case, voxel: tuple[int, int, int]) -> Spot:
    wide = _around(voxel, case, NEAR_MM + PEAK_RADIUS_MM)
    near = _around(voxel, case, NEAR_MM)
    inner = tuple(
        slice(each.start - all_.start, each.stop - all_.start)
        for each, all_ in zip(near, wide, strict=True)
    )

    def peaks(volume: Array) -> Array64:
        return peak_map(volume[wide], case.voxel_mm)[inner]

    def measured(volume: Array, std: Array | None = None) -> Measured:
        part, means = volume[near], peaks(volume)
        half = None
        if std is not None:
            z = z_value(LEVEL)
            # The mean of the deviations is the largest that the deviation of a mean can be.
            half = (
                z * float(std[near].flat[int(np.argmax(part))]),
                z * float(peaks(std).flat[int(np.argmax(means))]),
            )
        return Measured(float(part.max()), float(means.max()), half)

    return Spot(
        _place(case, voxel),
        voxel,
        measured(case.input),
        measured(case.output, case.std if case.calibrated else None),
        None if case.reference is None else measured(case.reference),
    )


def _around(voxel: tuple[int, int, int], case: Case, reach_mm: float) -> tuple[slice, ...]:
    """The box of what is within ``reach_mm`` along each axis."""
    reach = [int(reach_mm / mm) for mm in case.voxel_mm]
    return tuple(
        slice(max(v - r, 0), min(v + r + 1, n))
        for v, r, n in zip(voxel, reach, case.output.shape, strict=True)
    )


def _clear(left: Array, voxel: tuple[int, int, int], voxel_mm: tuple[float, ...]) -> None:
    """Take the surroundings of a spot out of ``left``."""
    box = tuple(
        slice(max(v - int(APART_MM / mm), 0), v + int(APART_MM / mm) + 1)
        for v, mm in zip(voxel, voxel_mm, strict=True)
    )
    axes = [
        ((np.arange(part.start, part.start + n) - v) * mm) ** 2
        for part, n, v, mm in zip(box, left[box].shape, voxel, voxel_mm, strict=True)
    ]
    distance = axes[0][:, None, None] + axes[1][:, None] + axes[2]
    left[box][distance <= APART_MM**2] = -np.inf


def _place(case: Case, voxel: tuple[int, int, int]) -> tuple[float, float, float]:
    x, y, z = case.affine[:3, :3] @ np.asarray(voxel, np.float64) + case.affine[:3, 3]
    return float(x), float(y), float(z)
