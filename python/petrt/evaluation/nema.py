"""The NEMA image quality phantom: its geometry, and contrast recovery against background variability.

NEMA NU 2-2018, section 7 (NU 2-2007 had the two largest spheres cold). With the mean C_H of a hot sphere of
diameter j in a circle of its diameter through its centre, C_C of a cold one, C_B of the K = 60 circles of
this diameter in the background (12 in each of 5 planes), and the activities a:

    Q_H = (C_H / C_B - 1) / (a_H / a_B - 1)          contrast recovery of a hot sphere
    Q_C = 1 - C_C / C_B                              of a cold one
    N   = SD(C_B,k) / C_B, ddof 1                    background variability
    lung error = C_lung / C_B (37 mm)                circle of 30 mm in the insert, mean over the planes

all in per cent. A circle counts parts of pixels, and takes the plane nearest to it. Positions are
millimetres in the phantom's frame: x right, y front (up), z along the axis, origin between the spheres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petrt.arrays import Array64
from petrt.errors import InputError, UsageError, called

DIAMETERS_MM = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)
RING_MM = 57.2  # radius of the circle of the spheres' centres
LUNG_MM, LUNG_CIRCLE_MM = 25.0, 30.0  # radius of the insert, diameter of its circle
LARGEST = max(DIAMETERS_MM)
CIRCLES = 12
# A circle of the background stays as far from walls and spheres.
CLEARANCE_MM = 15.0
# Points on a side of a square millimetre: a circle's share of a pixel.
FINE_MM = 0.5
Kind = Literal["body", "head"]
KINDS: tuple[Kind, ...] = ("body", "head")


@dataclass(frozen=True)
class Sphere:
    """One sphere: diameter and centre in the phantom's frame, mm; ``hot`` or without activity."""

    diameter_mm: float
    centre_mm: tuple[float, float, float]
    hot: bool = True


@dataclass(frozen=True)
class NemaPhantom:
    """``body``: 294 x 224 mm, the standard's. ``head``: the same spheres in a cylinder of 200 mm, whose
    background planes lie beside the spheres, for there is no room between them.

    ``contrast``: a_H / a_B.
    """

    kind: Kind
    spheres: tuple[Sphere, ...]
    planes_mm: tuple[float, ...]
    contrast: float = 4.0

    @property
    def depth_mm(self) -> tuple[float, float]:
        """The part along z that is measured, with room for the resolution of a scanner."""
        reach = LARGEST / 2 + 10
        return min(-reach, min(self.planes_mm) - 6), max(reach, max(self.planes_mm) + 6)

    @property
    def width_mm(self) -> float:
        """Side of a square that holds the phantom, centred on the origin."""
        return 312.0 if self.kind == "body" else 216.0

    def wall(self, x: Array64, y: Array64) -> Array64:
        """Distance of points to the wall of the phantom, mm, positive inside (no more than it in corners)."""
        if self.kind == "head":
            return np.asarray(100.0 - np.hypot(x, y))
        up = y + 35.0  # a half-circle of 147 mm above, a box with corners of 77 mm below
        beside = np.maximum(np.abs(x) - 70.0, 0.0)
        return np.where(up >= 0, 147.0 - np.hypot(x, up), 77.0 - np.hypot(beside, up))


def phantom(
    kind: str,
    *,
    contrast: float = 4.0,
    cold: Sequence[float] = (),
    turn_deg: float = 0.0,
    clockwise: bool = False,
) -> NemaPhantom:
    """The phantom of ``kind``; ``cold``: diameters without activity. The smallest sphere lies ``turn_deg``
    from x to y, the others 60 degrees further each, or back if ``clockwise``. Raises UsageError."""
    if kind not in KINDS:
        raise UsageError(f"{called('kind')} is {kind[:40]!r}", f"choose {' or '.join(KINDS)}")
    if unknown := set(cold) - set(DIAMETERS_MM):
        raise UsageError(
            f"{called('cold')}: no sphere has {min(unknown):g} mm",
            "choose 10, 13, 17, 22, 28 or 37",
        )
    if not (contrast > 1 and math.isfinite(contrast)):
        raise UsageError(
            f"{called('contrast')} is {contrast:g}", "give one above 1; NEMA's are 4 and 8"
        )
    spheres = []
    for number, diameter in enumerate(DIAMETERS_MM):
        angle = math.radians(turn_deg + (-60.0 if clockwise else 60.0) * number)
        centre = (RING_MM * math.cos(angle), RING_MM * math.sin(angle), 0.0)
        spheres.append(Sphere(diameter, centre, diameter not in cold))
    planes = (-20.0, -10.0, 0.0, 10.0, 20.0) if kind == "body" else (36.0, 40.0, 44.0, 48.0, 52.0)
    return NemaPhantom(kind, tuple(spheres), planes, contrast)


def background_centres(nema: NemaPhantom) -> NDArray[np.float64]:
    """Centres (x, y) [12, 2] of the background's circles, mm: as far apart as there is room.

    They are ``CLEARANCE_MM`` from the wall and the insert, and from spheres in the same planes. The first
    is the one farthest from the origin, each other the one farthest from those before it.
    """
    axis = np.arange(-nema.width_mm / 2, nema.width_mm / 2 + 1e-9, 2.0)
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    room = LARGEST / 2 + CLEARANCE_MM
    free = (nema.wall(x, y) >= room) & (np.hypot(x, y) >= LUNG_MM + room)
    for sphere in nema.spheres:
        if min(abs(z - sphere.centre_mm[2]) for z in nema.planes_mm) < sphere.diameter_mm / 2:
            away = np.hypot(x - sphere.centre_mm[0], y - sphere.centre_mm[1])
            free &= away >= sphere.diameter_mm / 2 + room
    places = np.stack([x[free], y[free]], 1)
    chosen = [places[np.argmax((places**2).sum(1))]]
    while len(chosen) < CIRCLES:
        nearest = np.min([((places - c) ** 2).sum(1) for c in chosen], axis=0)
        chosen.append(places[np.argmax(nearest)])
    return np.array(chosen)


@dataclass(frozen=True)
class SphereResult:
    """``contrast_percent``: Q_H, or Q_C of a cold sphere; ``variability_percent``: N of this diameter."""

    diameter_mm: float
    hot: bool
    contrast_percent: float
    variability_percent: float


@dataclass(frozen=True)
class NemaResult:
    """All figures of one image; ``background``: C_B at 37 mm, in the image's unit."""

    spheres: tuple[SphereResult, ...]
    lung_percent: float
    background: float

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(
    image: NDArray[Any],
    affine: NDArray[np.float64],
    nema: NemaPhantom,
    pose: NDArray[np.float64] | None = None,
) -> NemaResult:
    """The standard's figures of ``image`` [X, Y, Z].

    ``affine`` [4, 4]: voxels to millimetres. ``pose`` [4, 4]: the phantom's frame to those millimetres; by
    default they are the same. Raises InputError where the image does not hold the phantom, or the
    background has no activity.
    """
    to_voxels = np.linalg.inv(affine) @ (np.eye(4) if pose is None else pose)
    places = background_centres(nema)
    planes = np.array(nema.planes_mm)
    centres = np.array([(x, y, z) for z in planes for x, y in places])
    levels = {d: _means(image, to_voxels, centres, d) for d in DIAMETERS_MM}
    background = float(levels[LARGEST].mean())
    if background <= 0:
        raise InputError(f"the mean of the background is {background:g}", "is it the phantom?")
    spheres = []
    for sphere in nema.spheres:
        around = levels[sphere.diameter_mm]
        mean = float(_means(image, to_voxels, np.array([sphere.centre_mm]), sphere.diameter_mm)[0])
        ratio = mean / float(around.mean())
        contrast = (ratio - 1) / (nema.contrast - 1) if sphere.hot else 1 - ratio
        spread = float(around.std(ddof=1) / around.mean())
        spheres.append(SphereResult(sphere.diameter_mm, sphere.hot, 100 * contrast, 100 * spread))
    axis = np.array([(0.0, 0.0, z) for z in planes])
    lung = _means(image, to_voxels, axis, LUNG_CIRCLE_MM)
    per_plane = levels[LARGEST].reshape(len(planes), -1).mean(1)
    return NemaResult(tuple(spheres), float(100 * np.mean(lung / per_plane)), background)


def sphere_labels(
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    nema: NemaPhantom,
    pose: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """Labels [X, Y, Z]: 1 to 6, the spheres by rising diameter; a voxel belongs if its centre does."""
    to_frame = np.linalg.inv(np.eye(4) if pose is None else pose) @ affine
    index = np.indices(shape).reshape(3, -1)
    place = to_frame[:3, :3] @ index + to_frame[:3, 3:]
    labels = np.zeros(int(np.prod(shape)), np.uint8)
    for number, sphere in enumerate(nema.spheres, start=1):
        away = ((place - np.array(sphere.centre_mm)[:, None]) ** 2).sum(0)
        labels[away <= (sphere.diameter_mm / 2) ** 2] = number
    return labels.reshape(shape)


def _means(
    image: NDArray[Any], to_voxels: NDArray[np.float64], centres: Array64, diameter_mm: float
) -> Array64:
    """Mean [N] of ``image`` in the circles at ``centres`` [N, 3] of the phantom's frame."""
    steps = round(diameter_mm / FINE_MM)
    axis = (np.arange(steps) + 0.5) * (diameter_mm / steps) - diameter_mm / 2
    x, y = np.meshgrid(axis, axis, indexing="ij")
    inside = np.hypot(x, y) <= diameter_mm / 2
    disc = np.stack([x[inside], y[inside], np.zeros(int(inside.sum()))])
    points = centres[:, :, None] + disc
    voxels = np.einsum("ij,njp->nip", to_voxels[:3, :3], points) + to_voxels[:3, 3][:, None]
    if voxels.min() < -0.5 or (voxels.max((0, 2)) > np.array(image.shape) - 0.5).any():
        raise InputError(
            "the image does not hold the whole phantom", "check centres and field of view"
        )
    flat = voxels.transpose(1, 0, 2).reshape(3, -1)
    values = ndimage.map_coordinates(np.asarray(image, np.float64), flat, order=0, mode="nearest")
    return np.asarray(values.reshape(len(centres), -1).mean(1))
