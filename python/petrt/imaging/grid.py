"""The network grid: an array [Z, H, W] made from a volume [X, Y, Z], and the way back.

The volume's axes are permuted and flipped to the nearest canonical ones (x to the right, y to the
front, z up). Axes whose voxel size differs from the model's by more than 1 % are resampled. H and W
are padded with zeros to a multiple of 8. H is canonical x, W is canonical y, as in the authors' code,
and slices lie along z. Without resampling, the way there and back is bit exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from petrt.errors import InputError, UsageError
from petrt.imaging.affine import check_affine
from petrt.imaging.parallel import over_parts
from petrt.imaging.resample import apply, operator
from petrt.model.spec import DomainSpec

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Shape3 = tuple[int, int, int]
Size3 = tuple[float, float, float]

# Voxel sizes with a relative difference up to this are equal: no resampling.
SAME_VOXEL = 0.01
# The fewest in-plane voxels for which the networks' coarsest level is not empty.
MIN_IN_PLANE = 8
# 2 GiB as float32. A volume with voxels of 1 m must not exhaust the memory on a grid of 2 mm.
MAX_NETWORK_VOXELS = 1 << 29


@dataclass(frozen=True)
class Placement:
    """The placement of a volume of ``input_shape`` on the network grid, made by ``plan``.

    ``axes[i]`` is the input axis that becomes canonical axis i; it is reversed if ``flips[i]``. The
    next four are along canonical x, y, z: ``voxel_mm`` and ``grid_mm``, the voxel sizes before (None
    for a bare array) and after resampling; ``resampled``, which axes are resampled; ``grid_shape``,
    the shape before padding. ``padding`` is (before, after) for x and y. ``tilt_deg`` is the angle
    between an oblique volume's axes and the canonical ones, ``shear_deg`` how far the angles between its
    own axes are from right ones.
    """

    input_shape: Shape3
    axes: Shape3
    flips: tuple[bool, bool, bool]
    voxel_mm: Size3 | None
    grid_mm: Size3 | None
    resampled: tuple[bool, bool, bool]
    grid_shape: Shape3
    padding: tuple[tuple[int, int], tuple[int, int]]
    tilt_deg: float = 0.0
    shear_deg: float = 0.0

    @property
    def canonical_shape(self) -> Shape3:
        """The volume's shape along canonical x, y, z, before resampling."""
        x, y, z = (self.input_shape[axis] for axis in self.axes)
        return x, y, z

    @property
    def network_shape(self) -> Shape3:
        """(Z, H, W) of the array that to_network returns."""
        x, y, z = self.grid_shape
        return z, x + sum(self.padding[0]), y + sum(self.padding[1])

    def to_network(self, data: np.ndarray, threads: int = 1) -> np.ndarray:
        """``data`` [X, Y, Z] on the network grid: float32 [Z, H, W], contiguous.

        The result does not depend on ``threads``.
        """
        if data.shape != self.input_shape:
            raise ValueError(f"expected a volume of shape {self.input_shape}, got {data.shape}")
        canonical = np.transpose(np.asarray(data, np.float32), self.axes)[self._reversal]
        if any(self.resampled):
            canonical = apply(canonical, self._operators(forward=True))
        network = np.zeros(self.network_shape, np.float32)
        _copy(canonical.transpose(2, 0, 1), network[self._inside], threads)
        return network

    def from_network(self, array: np.ndarray, threads: int = 1) -> np.ndarray:
        """``array`` [Z, H, W] back on the input's grid: float32 [X, Y, Z], a new array."""
        if array.shape != self.network_shape:
            raise ValueError(f"expected an array of shape {self.network_shape}, got {array.shape}")
        canonical = np.asarray(array, np.float32)[self._inside].transpose(1, 2, 0)
        if any(self.resampled):
            # Cubic splines overshoot beside steep edges; activity must not turn negative there.
            lowest = canonical.min()
            canonical = np.maximum(apply(canonical, self._operators(forward=False)), lowest)
        result = np.empty(self.input_shape, np.float32)
        turned = np.transpose(canonical[self._reversal], np.argsort(self.axes))
        _copy(turned, result, threads)
        return result

    @property
    def _reversal(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)

    @property
    def _inside(self) -> tuple[slice, slice, slice]:
        """The part of the network array that holds the volume."""
        (x, _), (y, _) = self.padding
        return slice(None), slice(x, x + self.grid_shape[0]), slice(y, y + self.grid_shape[1])

    def _operators(self, *, forward: bool) -> list[csr_array | None]:
        assert self.voxel_mm is not None
        assert self.grid_mm is not None
        operators: list[csr_array | None] = []
        for axis, needed in enumerate(self.resampled):
            if not needed:
                operators.append(None)
                continue
            here, there = self.canonical_shape[axis], self.grid_shape[axis]
            step = self.grid_mm[axis] / self.voxel_mm[axis]
            if forward:
                operators.append(operator(here, there, step, smooth=True))
            else:
                # No smoothing on the way back: the network's image is about as smooth as its
                # input, and smoothing would lower small peaks.
                operators.append(operator(there, here, 1.0 / step, smooth=False))
        return operators


def plan(
    shape: tuple[int, ...],
    affine: np.ndarray | None = None,
    target_mm: Size3 | None = None,
    *,
    voxel_mm: Size3 | None = None,
    multiple: int = 8,
    max_voxels: int = MAX_NETWORK_VOXELS,
    name: str = "volume",
) -> Placement:
    """Place a volume of ``shape`` (X, Y, Z) on the grid of a model with voxel size ``target_mm``.

    ``affine`` [4, 4] maps voxel indices to RAS millimetres. ``voxel_mm`` replaces it if the axes are
    canonical. With neither, the array is taken to lie on the model's grid and is only padded.
    Without ``target_mm`` nothing is resampled. Raises UsageError for both an affine and ``voxel_mm``,
    and InputError (with ``name``) for an invalid affine or voxel size and for a grid with fewer than 8
    voxels in-plane or more than ``max_voxels`` in all.
    """
    if len(shape) != 3:
        raise ValueError(f"expected a shape (X, Y, Z), got {shape}")
    if affine is not None and voxel_mm is not None:
        raise UsageError("both affine and voxel_mm are given", "give one of them")
    if voxel_mm is not None:
        if len(voxel_mm) != 3 or not all(size > 0 for size in voxel_mm):
            raise InputError(f"{name}: voxel_mm is {voxel_mm}", "expected three sizes above 0")
        affine = np.diag([*voxel_mm, 1.0])
    axes, flips, sizes, tilt, shear = (0, 1, 2), (False, False, False), None, 0.0, 0.0
    if affine is not None:
        affine = check_affine(affine, name)
        axes, flips, sizes, tilt = _orientation(affine)
        shear = _shear(affine)
    x, y, z = (int(shape[axis]) for axis in axes)
    grid_shape, grid_mm, resampled = (x, y, z), sizes, (False, False, False)
    if sizes is not None and target_mm is not None:
        grid_shape, grid_mm, resampled = _target_grid(grid_shape, sizes, target_mm)
    _check_limits(grid_shape, grid_mm, multiple, max_voxels, name)
    return Placement(
        input_shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        axes=axes,
        flips=flips,
        voxel_mm=sizes,
        grid_mm=grid_mm,
        resampled=resampled,
        grid_shape=grid_shape,
        padding=(_padding(grid_shape[0], multiple), _padding(grid_shape[1], multiple)),
        tilt_deg=tilt,
        shear_deg=shear,
    )


def domain_warnings(placement: Placement, domain: DomainSpec) -> list[str]:
    """One line for each difference between a volume's grid and the training data's.

    Reported are voxel sizes that differ by more than a quarter, in-plane fields of view that differ by
    more than half, sheared grids, and slices tilted by more than 15 degrees. Of a bare array, which has
    no voxel size, only the matrix is compared.
    """
    warnings = []
    sizes = placement.voxel_mm or domain.voxel_mm
    for axis, size, trained in zip("xyz", sizes, domain.voxel_mm, strict=True):
        if not 0.8 <= size / trained <= 1.25:
            warnings.append(
                f"voxel size along {axis} is {size:.3g} mm, trained on {trained:.3g} mm"
            )
    if domain.matrix is not None:
        for axis, count, size, matrix, trained in zip(
            "xy", placement.canonical_shape, sizes, domain.matrix, domain.voxel_mm, strict=False
        ):
            field, usual = count * size, matrix * trained
            if not 2 / 3 <= field / usual <= 1.5:
                warnings.append(
                    f"field of view along {axis} is {field:.0f} mm, trained on {usual:.0f} mm"
                )
    if placement.shear_deg > 1:
        warnings.append(
            f"the grid is sheared: its axes are {placement.shear_deg:.0f} degrees from right angles, "
            "trained on upright ones"
        )
    elif placement.tilt_deg > 15:
        warnings.append(
            f"slices are tilted by {placement.tilt_deg:.0f} degrees, trained on axial ones"
        )
    return warnings


def _copy(source: np.ndarray, target: np.ndarray, threads: int) -> None:
    """Copy ``source`` into ``target``, 3-D arrays of one shape and any memory order.

    Planes that hold the fastest axis of both arrays are copied one by one, so a transposition stays in
    the cache.
    """
    fastest = {int(np.argmin(np.abs(array.strides))) for array in (source, target)}
    across = next(axis for axis in range(3) if axis not in fastest)

    def planes(part: slice) -> None:
        for index in range(part.start, part.stop):
            plane = (slice(None),) * across + (index,)
            target[plane] = source[plane]

    over_parts(planes, target.shape[across], threads)


def _orientation(affine: np.ndarray) -> tuple[Shape3, tuple[bool, bool, bool], Size3, float]:
    """Axes, flips and voxel sizes (mm) for the nearest canonical axes, and the tilt (degrees)."""
    from nibabel.orientations import io_orientation

    target_and_sign = io_orientation(affine)  # row i: canonical axis and direction of input axis i
    axes = np.argsort(target_and_sign[:, 0])
    x, y, z = (int(axis) for axis in axes)
    fx, fy, fz = (bool(target_and_sign[axis, 1] < 0) for axis in axes)
    columns = affine[:3, :3][:, axes]
    lengths = np.linalg.norm(columns, axis=0)
    cosine = float(np.min(np.abs(np.diag(columns)) / lengths))
    sx, sy, sz = (float(length) for length in lengths)
    return (x, y, z), (fx, fy, fz), (sx, sy, sz), math.degrees(math.acos(min(cosine, 1.0)))


def _shear(affine: np.ndarray) -> float:
    """The largest difference, in degrees, between the angle of two of the grid's axes and a right one."""
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(columns.T @ columns)[[0, 0, 1], [1, 2, 2]]
    return math.degrees(math.asin(min(float(cosines.max()), 1.0)))


def _target_grid(
    shape: Shape3, sizes: Size3, target_mm: Size3
) -> tuple[Shape3, Size3, tuple[bool, bool, bool]]:
    """Shape and voxel size after resampling, and which axes are resampled. The grid covers the volume."""
    if not all(math.isfinite(size) and size > 0 for size in target_mm):
        raise ValueError(f"expected voxel sizes above 0, got target_mm {target_mm}")
    ratios = [size / target for size, target in zip(sizes, target_mm, strict=True)]
    needed = [abs(ratio - 1) > SAME_VOXEL for ratio in ratios]
    counts = list(shape)
    grid_mm = list(sizes)
    for axis in np.flatnonzero(needed):
        # A remainder under a thousandth of a voxel is a rounding error, not another voxel.
        counts[axis] = max(1, math.ceil(shape[axis] * ratios[axis] - 1e-3))
        grid_mm[axis] = float(target_mm[axis])
    return (
        (counts[0], counts[1], counts[2]),
        (grid_mm[0], grid_mm[1], grid_mm[2]),
        (needed[0], needed[1], needed[2]),
    )


def _padding(count: int, multiple: int) -> tuple[int, int]:
    missing = -count % multiple
    return missing // 2, missing - missing // 2


def _check_limits(
    shape: Shape3, grid_mm: Size3 | None, multiple: int, max_voxels: int, name: str
) -> None:
    x, y, z = shape
    grid = f"{x} x {y} x {z} voxels"
    if grid_mm is not None:
        grid += " of {:.3g} x {:.3g} x {:.3g} mm".format(*grid_mm)
    if min(x, y) < MIN_IN_PLANE or z < 1:
        raise InputError(
            f"{name}: {grid} on the model's grid, fewer than {MIN_IN_PLANE} x {MIN_IN_PLANE} x 1",
            "give the whole volume, and check its voxel size",
        )
    total = z * (x + sum(_padding(x, multiple))) * (y + sum(_padding(y, multiple)))
    if total > max_voxels:
        raise InputError(
            f"{name}: {grid} on the model's grid, more than {max_voxels} in all",
            "check its voxel size, or crop it",
        )
