"""A PET volume in memory with its grid and counts of unusual voxels; to and from nibabel images."""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image

from petrt.arrays import grid_text, plain
from petrt.errors import InputError, UsageError, called, way
from petrt.files.names import shown
from petrt.imaging.affine import check_affine
from petrt.io.header import affine_header, check_orientations, check_shape, grid_header
from petrt.io.notes import with_warnings

if TYPE_CHECKING:
    from petrt.io.dicom.origin import PetSeries

logger = logging.getLogger(__name__)

Nonfinite = Literal["refuse", "zero"]

# 2 GiB as float32: four times the largest total-body frame (440 x 440 x 644).
MAX_VOXELS = 1 << 29
DESCRIPTION = "petrt; not for diagnostic use"
# Millimetres in NIfTI's spatial units: unknown (taken as mm), metre, mm, micrometre.
_UNIT_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_BLOCK = 1 << 22


@dataclass(frozen=True)
class VoxelStats:
    """Numbers of voxels: below zero (kept), NaN or infinite, and replaced by zero."""

    negative: int = 0
    nonfinite: int = 0
    replaced: int = 0


@dataclass(frozen=True, repr=False)
class Volume:
    """A PET volume or series in memory.

    ``data`` is float32 [X, Y, Z] or [X, Y, Z, T] in the file's axes and units. ``affine`` (float64
    [4, 4]) maps voxel indices to world coordinates in the file's length unit. ``header`` is the header
    that an output gets (see ``grid_header``). ``source`` describes the file in one line. ``series`` is the
    DICOM series it came from. ``warnings`` says what was odd about the file.
    """

    data: np.ndarray
    affine: np.ndarray
    header: Nifti1Header
    stats: VoxelStats
    path: Path | None = None
    source: str = ""
    series: PetSeries | None = None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Volume({grid_text(self.data.shape, self.voxel_mm)}, {self.source or 'unknown source'})"

    @property
    def affine_mm(self) -> np.ndarray:
        """``affine`` in millimetres."""
        scale = _UNIT_MM.get(int(self.header["xyzt_units"]) & 7, 1.0)
        return np.diag([scale, scale, scale, 1.0]) @ self.affine

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Voxel size in millimetres along the data's three axes."""
        x, y, z = np.linalg.norm(self.affine_mm[:3, :3], axis=0)
        return float(x), float(y), float(z)


@with_warnings
def from_image(
    image: Any, *, max_voxels: int = MAX_VOXELS, nonfinite: Nonfinite = "refuse"
) -> Volume:
    """A Volume from a nibabel image in memory, which is not changed. Raises InputError."""
    filename = image.get_filename()
    name = shown(filename) if filename else "image"
    if image.affine is None:
        raise InputError(
            f"{name}: image without affine", "set its affine, or pass the array itself"
        )
    shape = tuple(int(n) for n in image.shape)
    check_shape(shape, name, max_voxels)
    affine = check_affine(image.affine, name)
    if isinstance(image.header, Nifti1Header) and int(image.header["sform_code"]):
        check_orientations(image.header, shape, name)
    try:
        stored = np.asanyarray(image.dataobj)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        fault = type(error).__name__  # nibabel's text contains the whole path
        raise InputError(
            f"{name}: its voxels cannot be read ({fault})", "check the file"
        ) from error
    values = plain(stored, name)
    if values.dtype.kind not in "iufb":
        raise InputError(f"{name}: voxels of type {values.dtype}", "real numbers are needed")
    data = as_float32(values.reshape(-1, order="F"), 1.0, 0.0).reshape(shape, order="F")
    if np.shares_memory(data, values):
        data = data.copy(order="F")
    stats = count_voxels(data, name, nonfinite)
    path = Path(filename) if filename else None
    return Volume(data, affine, _image_header(image, shape), stats, path, type(image).__name__)


def to_image(
    data: np.ndarray, like: Volume, *, description: str = DESCRIPTION
) -> Nifti1Image | Nifti2Image:
    """``data`` (the shape of ``like``) as a float32 nibabel image on the grid of ``like``.

    It is NIfTI-2 if ``like`` is, else NIfTI-1. Raises ValueError for another shape and InputError for
    non-finite values.
    """
    if data.shape != like.data.shape:
        raise ValueError(f"expected an array of shape {like.data.shape}, got {data.shape}")
    data = np.asarray(data, dtype=np.float32)
    bad = data.size - int(np.count_nonzero(np.isfinite(data)))
    if bad:
        raise InputError(f"non-finite output: {bad} of {data.size} voxels", "nothing is written")
    header = like.header.copy()
    header["descrip"] = description.encode("ascii", "replace")[:79]
    cls = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
    # nibabel keeps the header's orientation as long as it agrees with the affine.
    return cls(data, like.affine, header)


def as_float32(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """``slope * stored + intercept``, computed in float64 and rounded once to float32; flat.

    Values beyond float32 become infinite and are counted later.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if (slope, intercept) == (1.0, 0.0):
            return stored.astype(np.float32, copy=False)
        values = np.empty(stored.size, np.float32)
        for start in range(0, stored.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            values[block] = stored[block].astype(np.float64) * slope + intercept
    return values


def count_voxels(data: np.ndarray, name: str, nonfinite: Nonfinite) -> VoxelStats:
    """Count negative and non-finite voxels. Raises InputError for the latter, or zeroes them in place."""
    if nonfinite not in ("refuse", "zero"):
        raise UsageError(f"{called('nonfinite')} is {nonfinite!r}", "expected 'refuse' or 'zero'")
    finite = np.isfinite(data)
    bad = data.size - int(np.count_nonzero(finite))
    if bad and nonfinite == "refuse":
        raise InputError(
            f"{name}: {bad} of {data.size} voxels are NaN or infinite",
            way("nonfinite", "zero", "replaces them by 0 and counts them", "repair the file"),
        )
    if bad:
        data[~finite] = 0.0
        logger.warning("%s: %d NaN or infinite voxels replaced by 0", name, bad)
    return VoxelStats(negative=int(np.count_nonzero(data < 0)), nonfinite=bad, replaced=bad)


def _image_header(image: Any, shape: tuple[int, ...]) -> Nifti1Header:
    """The grid header of an image in memory; its affine is that of the image, as nibabel saves it."""
    if not isinstance(image.header, Nifti1Header):
        return affine_header(image.affine, shape)
    header = grid_header(image.header, shape)
    if not np.allclose(header.get_best_affine(), image.affine):
        header.set_qform(image.affine, code="unknown")
        header.set_sform(image.affine, code="aligned")
    return header
