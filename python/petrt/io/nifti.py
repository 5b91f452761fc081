"""Reads NIfTI and Analyze volumes, and writes NIfTI on exactly the same grid.

Reads NIfTI-1, NIfTI-2 (``.nii``, ``.nii.gz``, ``.hdr``/``.img``) and Analyze 7.5 of any byte order and
any real type. Writes float32 NIfTI. A damaged file or an impossible header raises an InputError of one
line (exit code 3); nothing is repaired by guessing.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Header

from petrt.arrays import grid_text
from petrt.errors import InputError, UsageError
from petrt.files.atomic import atomic_file
from petrt.files.names import shown
from petrt.files.outputs import check_output
from petrt.imaging.affine import check_affine
from petrt.io.header import (
    LONGEST_HEADER,
    SAME_PLACE,
    SourceHeader,
    affine_header,
    check_header,
    grid_header,
    header_affine,
    recognise,
    slope_and_intercept,
)
from petrt.io.notes import with_warnings
from petrt.io.sidecar import sidecar_warnings
from petrt.io.stream import check_length, opened, read_start, read_voxels
from petrt.io.volume import (
    DESCRIPTION,
    MAX_VOXELS,
    Nonfinite,
    Volume,
    VoxelStats,
    as_float32,
    count_voxels,
    from_image,
    to_image,
)

__all__ = [
    "MAX_VOXELS",
    "Glance",
    "Volume",
    "VoxelStats",
    "check_nifti_name",
    "check_nifti_output",
    "files_of",
    "from_image",
    "look",
    "read",
    "to_image",
    "write",
]

logger = logging.getLogger(__name__)

_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
# An SPM .mat file holds one or two 4 x 4 matrices.
_LARGEST_MATRIX = 1 << 16


@with_warnings
def read(
    path: str | os.PathLike[str], *, max_voxels: int = MAX_VOXELS, nonfinite: Nonfinite = "refuse"
) -> Volume:
    """Read and check a file; ``nonfinite="zero"`` replaces NaN and infinite voxels and counts them.

    Raises InputError, which names the file, the fault and the header's field. ``max_voxels`` counts
    all frames. It and the file's size are checked before anything large is allocated.
    """
    header_path, image_path = files_of(Path(path))
    name = shown(path)
    with opened(header_path) as stream:
        source = recognise(read_start(stream, LONGEST_HEADER), name)
        _check_pairing(source, header_path, image_path)
        check_header(source, name, max_voxels)
        affine, header = _grid(source, image_path, name)
        slope, intercept = slope_and_intercept(source, name)
        if source.single:
            stored = _stored(stream, source, image_path)
    if not source.single:
        with opened(image_path) as stream:
            stored = _stored(stream, source, image_path)
    data = as_float32(stored, slope, intercept).reshape(source.shape, order="F")
    stats = count_voxels(data, name, nonfinite)
    _check_frames(source, image_path, name)
    volume = Volume(data, affine, header, stats, Path(path), source.summary)
    logger.debug("read %s: %s", name, grid_text(data.shape, volume.voxel_mm))
    return volume


@dataclass(frozen=True)
class Glance:
    """What the header of a file says, checked."""

    shape: tuple[int, ...]
    affine_mm: np.ndarray


def look(path: str | os.PathLike[str], *, max_voxels: int = MAX_VOXELS) -> Glance:
    """Read and check a file's header and length, without its voxels. Raises InputError as ``read`` does."""
    header_path, image_path = files_of(Path(path))
    name = shown(path)
    with opened(header_path) as stream:
        source = recognise(read_start(stream, LONGEST_HEADER), name)
        _check_pairing(source, header_path, image_path)
        check_header(source, name, max_voxels)
        affine, header = _grid(source, image_path, name)
        slope_and_intercept(source, name)
        if source.single:
            _check_length(stream, source, image_path)
    if not source.single:
        with opened(image_path) as stream:
            _check_length(stream, source, image_path)
    _check_frames(source, image_path, name)
    empty = np.empty((0,) * len(source.shape), np.float32)
    return Glance(source.shape, Volume(empty, affine, header, VoxelStats()).affine_mm)


def write(
    path: str | os.PathLike[str],
    data: np.ndarray,
    like: Volume,
    *,
    description: str = DESCRIPTION,
    key: str = "",
    overwrite: bool = False,
) -> None:
    """Write ``data`` (the shape of ``like``) as float32 to a ``.nii`` or ``.nii.gz`` file.

    ``key``, at most 15 characters, goes into the header field intent_name.

    Affine, qform, sform, their codes, voxel sizes, repetition time and units equal those of ``like``
    bit for bit. Equal data give equal bytes. The file appears complete or not at all
    (petrt.files.atomic). Raises UsageError for a bad path, InputError for non-finite data.
    """
    target = Path(path)
    check_nifti_output(target, [like.path] if like.path else [], overwrite=overwrite)
    image = to_image(data, like, description=description)
    image.header["intent_name"] = key.encode("ascii")
    with atomic_file(target, overwrite=overwrite) as handle:
        if target.suffix.lower() != ".gz":
            image.to_stream(handle)
            return
        # No name and no time in the gzip header, so equal data give equal files. Level 1, as in
        # nibabel: noise hardly compresses, and higher levels only take longer.
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=handle, mtime=0) as zipped:
            image.to_stream(zipped)


def check_nifti_output(
    path: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]] = (),
    *,
    overwrite: bool = False,
) -> None:
    """``check_output`` for a NIfTI file. Also raises UsageError for names other than .nii and .nii.gz."""
    check_nifti_name(path)
    check_output(path, inputs, overwrite=overwrite)


def check_nifti_name(path: str | os.PathLike[str]) -> None:
    """Raise UsageError for names of outputs other than .nii and .nii.gz."""
    if not str(path).lower().endswith((".nii", ".nii.gz")):
        raise UsageError(f"{shown(path)}: not a NIfTI output", "end its name in .nii or .nii.gz")


def _grid(source: SourceHeader, image_path: Path, name: str) -> tuple[np.ndarray, Nifti1Header]:
    """The affine of a file, and the header of an output on its grid."""
    if source.kind != "Analyze":
        return header_affine(source, name), grid_header(source.raw, source.shape)
    affine = _analyze_affine(image_path)
    if affine is None:
        affine = header_affine(source, name)
    else:
        affine = check_affine(affine, name)
        _check_sizes(source, affine, name)
    return affine, affine_header(affine, source.shape)


def files_of(path: Path) -> tuple[Path, Path]:
    """The header file and the image file of ``path``; the same file for .nii. Raises InputError."""
    lower = path.name.lower()
    suffix = next((s for s in sorted(_SUFFIXES, key=len, reverse=True) if lower.endswith(s)), None)
    if suffix is None:
        raise InputError(
            f"{shown(path)}: not a NIfTI name", f"expected one of {', '.join(_SUFFIXES)}"
        )
    if suffix.startswith(".nii"):
        return path, path
    stem, end = path.name[: -len(suffix)], path.name[len(path.name) - len(suffix) :]
    header, image = ("HDR", "IMG") if end[1:4].isupper() else ("hdr", "img")
    rest = end[4:]
    return path.with_name(f"{stem}.{header}{rest}"), path.with_name(f"{stem}.{image}{rest}")


def _check_pairing(source: SourceHeader, header_path: Path, image_path: Path) -> None:
    """Raise InputError if the header's magic and the file's name disagree on where the voxels are."""
    if source.single != (header_path == image_path):
        where = "this file, named .nii" if source.single else "an .img file beside a .hdr"
        raise InputError(
            f"{shown(header_path)}: header field magic ({source.kind}) means voxels in {where}",
            "rename the file or files",
        )


def _analyze_affine(image_path: Path) -> np.ndarray | None:
    """The affine from the .mat file that SPM writes beside an Analyze pair; None without one."""
    stem = image_path.name[: image_path.name.lower().rindex(".img")]
    matrix = image_path.with_name(f"{stem}.mat")
    if not matrix.exists():
        return None
    try:
        if matrix.stat().st_size > _LARGEST_MATRIX:
            raise ValueError(f"over {_LARGEST_MATRIX} bytes")
        affine: np.ndarray = nibabel.load(image_path).affine  # type: ignore[attr-defined]
    except Exception as error:  # SciPy raises many kinds of errors for a damaged .mat file
        reason = " ".join(str(error).split())
        raise InputError(f"{shown(matrix)}: cannot read: {reason}", "move it away") from error
    return affine


def _check_sizes(source: SourceHeader, affine: np.ndarray, name: str) -> None:
    """Log a warning if the .mat file and the header of an Analyze pair state different voxel sizes."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    stated = np.array(source.field["pixdim"][1:4], float)
    if np.abs(stated / sizes - 1).max() > SAME_PLACE:
        ours, theirs = (" x ".join(f"{size:.4g}" for size in each) for each in (sizes, stated))
        logger.warning(
            "%s: two voxel sizes: .mat %s, pixdim %s; the .mat is used", name, ours, theirs
        )


def _check_frames(source: SourceHeader, image_path: Path, name: str) -> None:
    """Log what the .json file beside a volume says against its frames."""
    frames = source.shape[3] if len(source.shape) == 4 else 1
    for warning in sidecar_warnings(image_path, frames):
        logger.warning("%s: %s", name, warning)


def _check_length(stream: BufferedIOBase, source: SourceHeader, path: Path) -> None:
    size = math.prod(source.shape) * source.raw.get_data_dtype().itemsize
    check_length(stream, path, source.offset + size)


def _stored(stream: BufferedIOBase, source: SourceHeader, path: Path) -> np.ndarray:
    """The voxels as stored, flat in file order."""
    dtype = source.raw.get_data_dtype()
    count = math.prod(source.shape)
    return read_voxels(stream, path, offset=source.offset, count=count, dtype=dtype)
