"""Where the spheres of a NEMA phantom lie in a real image: found by correlation, or read from a file.

The phantom's axis is the image's z, its flat side lies down (-y). The turn of the spheres about the axis and
their sense are found: templates of the six spheres at every 5 degrees, both ways round, are correlated with
the image (normalised, on a grid of ``GRID_MM``), and the best is refined on the image itself.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, optimize

from petrt.arrays import Array64
from petrt.errors import InputError
from petrt.evaluation.nema import DIAMETERS_MM, RING_MM, NemaPhantom, Sphere, phantom
from petrt.files.names import shown

GRID_MM = 6.0
TURNS_DEG = 5.0
REACH_MM = RING_MM + 28.0  # of the template: the spheres and some background around them
DEPTH_MM = 26.0
# Simulated phantoms at 1/100 to full dose have 0.85 to 0.97; a brain, and a phantom without spheres, 0.52.
LEAST = 0.7
LEVEL = 0.2  # of the image's 99th percentile: the phantom


@dataclass(frozen=True)
class Found:
    """The phantom with its spheres as they lie, its ``pose`` in the image's millimetres, and the
    ``correlation`` (None where a file gave the centres)."""

    nema: NemaPhantom
    pose: NDArray[np.float64]
    correlation: float | None


def find_spheres(
    image: NDArray[Any],
    affine: NDArray[np.float64],
    kind: str,
    *,
    contrast: float = 4.0,
    cold: tuple[float, ...] = (),
) -> Found:
    """The phantom of ``kind`` in ``image`` [X, Y, Z]. Raises InputError where nothing is like it."""
    volume, origin = _axis_aligned(np.asarray(image, np.float64), affine)
    shape = [n + 2 * math.ceil(REACH_MM / GRID_MM) for n in volume.shape]
    transformed = fft.rfftn(volume, shape)
    support = _support()
    count = support.sum()
    ones = np.conj(fft.rfftn(_placed(support, shape)))
    mean = fft.irfftn(transformed * ones, shape) / count
    square = fft.irfftn(fft.rfftn(volume**2, shape) * ones, shape) / count
    spread = np.sqrt(np.maximum(square - mean**2, 1e-9 * square.max()))
    inside = tuple(slice(0, n) for n in volume.shape)
    best: tuple[float, float, bool, Array64] = (-1.0, 0.0, False, origin)
    for clockwise in (False, True):
        for turn in np.arange(0, 360, TURNS_DEG):
            nema = phantom(kind, contrast=contrast, cold=cold, turn_deg=turn, clockwise=clockwise)
            template = _template(nema, support)
            other = np.conj(fft.rfftn(_placed(template, shape)))
            score = fft.irfftn(transformed * other, shape) / spread / count
            place = np.unravel_index(np.argmax(score[inside]), volume.shape)
            if score[place] > best[0]:
                best = float(score[place]), float(turn), clockwise, np.array(place, float)
    correlation, turn, clockwise, first = best
    if correlation < LEAST:
        raise InputError(
            f"no NEMA phantom is found (correlation {correlation:.2f}, at least {LEAST:g})",
            "give the centres of its spheres in a file",
        )
    start = np.array([*(origin + GRID_MM * first), turn])
    centre, turn = _refined(image, affine, start, kind, clockwise, cold)
    nema = phantom(kind, contrast=contrast, cold=cold, turn_deg=turn, clockwise=clockwise)
    return Found(nema, _shift(centre), correlation)


def read_centres(path: Path, nema: NemaPhantom) -> Found:
    """The phantom with the centres of a CSV: diameter_mm,x,y,z, in the image's millimetres (x to the
    right, y to the front, z up). Raises InputError for anything but the six spheres of ``nema``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [
                {str(k).strip().lower(): float(v) for k, v in row.items()}
                for row in csv.DictReader(file)
            ]
        places = {row["diameter_mm"]: np.array([row["x"], row["y"], row["z"]]) for row in rows}
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{shown(path)}: no table of numbers", "columns diameter_mm,x,y,z"
        ) from error
    known = len(rows) == len(DIAMETERS_MM) and set(places) == set(DIAMETERS_MM)
    if not known or not all(np.isfinite(place).all() for place in places.values()):
        raise InputError(
            f"{shown(path)}: not the six spheres", "diameters 10, 13, 17, 22, 28, 37, once each"
        )
    middle = np.mean([*places.values()], axis=0)
    spheres = []
    for sphere in nema.spheres:
        x, y, z = places[sphere.diameter_mm] - middle
        spheres.append(Sphere(sphere.diameter_mm, (float(x), float(y), float(z)), sphere.hot))
    return Found(replace(nema, spheres=tuple(spheres)), _shift(middle), None)


def _axis_aligned(image: Array64, affine: NDArray[np.float64]) -> tuple[Array64, Array64]:
    """The active part of ``image`` on a grid along x, y, z of ``GRID_MM``, and its first voxel in mm."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(image, GRID_MM / 2.0 / sizes)
    active = smooth > LEVEL * np.percentile(smooth, 99)
    if not active.any():
        raise InputError("no NEMA phantom is found: the image is empty")
    index = np.argwhere(active)
    ends = np.array(np.meshgrid(*zip(index.min(0), index.max(0), strict=True), indexing="ij"))
    corners = (affine[:3, :3] @ ends.reshape(3, -1) + affine[:3, 3:]).T
    origin = corners.min(0)
    shape = np.maximum(np.ceil((corners.max(0) - origin) / GRID_MM).astype(int) + 1, 1)
    to_voxels = np.linalg.inv(affine)
    matrix = to_voxels[:3, :3] * GRID_MM
    offset = to_voxels[:3, :3] @ origin + to_voxels[:3, 3]
    made = ndimage.affine_transform(smooth, matrix, offset, tuple(shape), order=1)
    return np.asarray(made, np.float64), origin


def _grid() -> tuple[Array64, Array64, Array64]:
    lines = [
        GRID_MM * np.arange(-math.ceil(r / GRID_MM), math.ceil(r / GRID_MM) + 1)
        for r in (REACH_MM, REACH_MM, DEPTH_MM)
    ]
    x, y, z = np.meshgrid(*lines, indexing="ij")
    return x, y, z


def _support() -> Array64:
    """1 in the cylinder that is compared."""
    x, y, z = _grid()
    return np.asarray((np.hypot(x, y) <= REACH_MM) & (np.abs(z) <= DEPTH_MM), np.float64)


def _template(nema: NemaPhantom, support: Array64) -> Array64:
    """Spheres and insert at the grid's resolution; mean 0, standard deviation 1 in ``support``."""
    x, y, z = _grid()
    made = np.ones_like(x)
    made -= 1 / (1 + np.exp((np.hypot(x, y) - 25.0) / 3.0))
    for sphere in nema.spheres:
        away = np.sqrt(sum((g - c) ** 2 for g, c in zip((x, y, z), sphere.centre_mm, strict=True)))
        level = nema.contrast - 1 if sphere.hot else -1.0
        made += level / (1 + np.exp((away - sphere.diameter_mm / 2) / 2.5))
    inside = support > 0
    made = (made - made[inside].mean()) / made[inside].std()
    return np.asarray(made * support)


def _placed(kernel: Array64, shape: list[int]) -> Array64:
    """``kernel`` in an array of ``shape``, its middle at the first voxel, wrapped around."""
    out = np.zeros(shape)
    index = [np.arange(n) - n // 2 for n in kernel.shape]
    np.add.at(out, np.ix_(*(i % n for i, n in zip(index, shape, strict=True))), kernel)
    return out


def _refined(
    image: NDArray[Any],
    affine: NDArray[np.float64],
    start: Array64,
    kind: str,
    clockwise: bool,
    cold: tuple[float, ...],
) -> tuple[Array64, float]:
    """Centre [3] in mm and turn in degrees where the spheres hold most, the cold ones least."""
    to_voxels = np.linalg.inv(affine)
    line = np.linspace(-0.9, 0.9, 7)
    ball = np.stack([g.ravel() for g in np.meshgrid(line, line, line, indexing="ij")])
    ball = ball[:, (ball**2).sum(0) <= 0.81]
    volume = np.asarray(image, np.float64)

    def missed(pose: Array64) -> float:
        spheres = phantom(kind, cold=cold, turn_deg=pose[3], clockwise=clockwise).spheres
        total = 0.0
        for sphere in spheres:
            place = pose[:3, None] + np.array(sphere.centre_mm)[:, None]
            points = place + ball * sphere.diameter_mm / 2
            voxels = to_voxels[:3, :3] @ points + to_voxels[:3, 3:]
            mean = ndimage.map_coordinates(volume, voxels, order=1, mode="nearest").mean()
            total += (1 if sphere.hot else -1) * sphere.diameter_mm * mean
        return -float(total)

    steps = np.vstack([start, *(start + step for step in np.diag([3.0, 3.0, 3.0, 3.0]))])
    options = {"initial_simplex": steps, "xatol": 0.05, "fatol": 1e-6 * abs(missed(start))}
    found = optimize.minimize(missed, start, method="Nelder-Mead", options=options)
    return np.asarray(found.x[:3]), float(found.x[3])


def _shift(centre: Array64) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, 3] = centre
    return pose
