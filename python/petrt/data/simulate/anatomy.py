"""The anatomy of a random head: a warped MNI152 template with random folds.

The image grid is mapped to MNI coordinates (millimetres, RAS+), in which anatomy and regional uptake are
defined.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from petrt.arrays import Array

Shape = tuple[int, int, int]

BRAIN_CENTRE_MM = np.array([0.0, -17.0, 4.0], np.float32)
"""MNI position (mm) at the centre of an image without pose and warp."""


@dataclass(frozen=True)
class Template:
    """Volume fractions, each [X,Y,Z] in 0..1, and the MNI position (mm) of voxel (0, 0, 0)."""

    grey: Array
    white: Array
    cavity: Array  # everything inside the skull: grey, white and fluid
    soft: Array  # scalp, face and neck
    first_mm: Array
    voxel_mm: float


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The template that ships with the package (origin and licence: ``data/README.md``)."""
    with (files(__package__) / "data" / "template.npz").open("rb") as file, np.load(file) as npz:
        levels = np.float32(npz["levels"])
        maps = {n: npz[n].astype(np.float32) / levels for n in ("grey", "white", "cavity", "soft")}
        first = npz["first_mm"].astype(np.float32)
        return Template(**maps, first_mm=first, voxel_mm=float(npz["voxel_mm"]))


@dataclass(frozen=True)
class Anatomy:
    """A head on its grid. ``grey``, ``white`` and ``csf`` [N] are fractions of the N voxels of ``brain``."""

    mni: Array  # position [3,X,Y,Z], mm
    cavity: Array  # [X,Y,Z]
    soft: Array  # [X,Y,Z]
    brain: NDArray[np.bool_]  # [X,Y,Z], about a tenth of the grid
    grey: Array
    white: Array
    csf: Array

    @property
    def inside(self) -> Array:
        """MNI positions [3,N] of the voxels of the brain."""
        return self.mni[:, self.brain]


def make_anatomy(
    warp: np.random.Generator,
    texture: np.random.Generator,
    shape: Shape,
    voxel_mm: float,
    head_scale: float = 1.0,
) -> Anatomy:
    """A head, ``head_scale`` times as large as usual, on an RAS+ grid of isotropic ``voxel_mm``."""
    mni = warp_to_mni(warp, shape, voxel_mm, head_scale)
    head = load_template()
    cavity, soft = sample(head.cavity, mni), sample(head.soft, mni)
    brain = cavity > 0
    tissues = fold_tissues(texture, mni[:, brain], cavity[brain], brain, voxel_mm)
    return Anatomy(mni, cavity, soft, brain, *tissues)


def warp_to_mni(
    rng: np.random.Generator, shape: Shape, voxel_mm: float, head_scale: float = 1.0
) -> Array:
    """MNI position [3,X,Y,Z] (mm) of each voxel: a pose and two scales of smooth deformation."""
    turn = np.deg2rad(rng.normal(0, [5.0, 3.0, 4.0]))  # pitch, roll, yaw
    scale = (1 + rng.normal(0, 0.04) + rng.normal(0, 0.025, 3)) * head_scale
    shift = rng.normal(0, 3.0, 3)
    matrix = (_rotation(turn) / scale).astype(np.float32)
    axes = [np.float32(voxel_mm) * (np.arange(n) - (n - 1) / 2) for n in shape]
    mni = np.empty((3, *shape), np.float32)
    for row in range(3):
        x, y, z = (a * m for a, m in zip(axes, matrix[row], strict=True))
        mni[row] = x[:, None, None] + y[None, :, None] + z[None, None, :]
        mni[row] += BRAIN_CENTRE_MM[row] - np.float32(shift[row])
        mni[row] += 3.0 * smooth_noise(rng, shape, 36 / voxel_mm)
        mni[row] += 1.3 * smooth_noise(rng, shape, 14 / voxel_mm)
    return mni


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation about x, then y, then z, by ``angles`` in radians."""
    out = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        out = turn @ out
    return out


def sample(fraction: Array, mni: Array) -> Array:
    """A map of the template, sampled at ``mni`` [3,...] (mm); zero outside the template."""
    head = load_template()
    first = head.first_mm.reshape(3, *[1] * (mni.ndim - 1))
    index = (mni - first) / np.float32(head.voxel_mm)
    return ndimage.map_coordinates(fraction, index, order=1, prefilter=False)


def fold_tissues(
    rng: np.random.Generator, mni: Array, cavity: Array, brain: NDArray[np.bool_], voxel_mm: float
) -> tuple[Array, Array, Array]:
    """Fractions [N] of grey, white and csf at ``mni`` [3,N], the positions of the mask ``brain``.

    The template is an average of 152 people, so its cortex is blurred. Random folds are added: the odds
    of the three tissues are sharpened, get correlated noise, and are scaled to fill ``cavity`` [N].
    """
    head = load_template()
    grey, white = sample(head.grey, mni), sample(head.white, mni)
    odds = []
    for fraction in (grey, white, np.maximum(cavity - grey - white, 0)):
        fold = np.exp(0.7 * smooth_noise(rng, brain.shape, 5 / voxel_mm)[brain])
        odds.append(((fraction + np.float32(0.02)) * fold) ** 1.6)
    scale = cavity / (odds[0] + odds[1] + odds[2])
    return odds[0] * scale, odds[1] * scale, odds[2] * scale


def smooth_noise(rng: np.random.Generator, shape: Shape, sigma: float) -> Array:
    """Gaussian noise [X,Y,Z] of zero mean and unit variance, correlated over ``sigma`` voxels.

    It is drawn on a grid with a step of ``sigma`` and interpolated by cubic B-splines, which is much
    faster than filtering the full grid. Sparse products sum in a fixed order, BLAS does not.
    """
    step = max(sigma, 1.0)
    coarse = tuple(int(np.ceil(n / step)) + 4 for n in shape)
    field = rng.standard_normal(coarse, dtype=np.float32)
    for n, short in zip(shape, coarse, strict=True):
        rows = _spline_weights(n, short, step) @ field.reshape(short, -1)
        # Move the finished axis to the end: after three axes they are back in order.
        field = np.ascontiguousarray(np.moveaxis(rows.reshape(n, *field.shape[1:]), 0, -1))
    return field


def _spline_weights(fine: int, coarse: int, step: float) -> sparse.csr_array:
    """Cubic B-spline weights [fine, coarse], each row scaled to a sum of squares of one."""
    distance = np.abs((np.arange(fine) / step + 1.5)[:, None] - np.arange(coarse)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    weights = np.where(distance < 1, near, far)
    weights /= np.sqrt((weights**2).sum(1, keepdims=True))
    return sparse.csr_array(weights.astype(np.float32))
