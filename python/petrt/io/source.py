"""A volume by its path: a NIfTI file, or a DICOM series in a folder, files, a DICOMDIR or a zip archive."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from petrt.errors import InputError, UsageError
from petrt.files.hashes import file_sha256, joined_sha256
from petrt.files.names import shown
from petrt.files.system import reading
from petrt.io import nifti
from petrt.io.dicom import series as dicom
from petrt.io.dicom.catalogue import Wanted
from petrt.io.dicom.files import holds_dicom, is_dicom_file
from petrt.io.nifti import Glance
from petrt.io.volume import MAX_VOXELS, Nonfinite, Volume

Path_ = str | os.PathLike[str]
VolumeSource = Path_ | Sequence[Path_]

_NIFTI = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")


def is_dicom(source: VolumeSource) -> bool:
    """Whether ``source`` is read as DICOM: a list, a folder, a zip archive, a DICOM file or DICOMDIR."""
    if not isinstance(source, str | os.PathLike):
        return True
    path = Path(source)
    if path.name.lower().endswith(_NIFTI):
        return False
    try:
        if path.is_dir():
            return True
        return path.is_file() and (zipfile.is_zipfile(path) or is_dicom_file(path))
    except (OSError, ValueError):  # said in reading it
        return False


def is_dicom_folder(path: Path) -> bool:
    """Whether ``path`` is a folder with DICOM files in it or its folders. Raises InputError if it cannot be
    listed."""
    return path.is_dir() and holds_dicom(path)


def among_several(path: VolumeSource, wanted: Sequence[str] | None) -> Sequence[str] | None:
    """``wanted`` where ``path`` is DICOM with several PET series; None where there is nothing to choose."""
    return wanted if wanted and is_dicom(path) and len(dicom.series_uids(path)) > 1 else None


def read(
    source: VolumeSource,
    *,
    series: Wanted = None,
    force_units: bool = False,
    max_voxels: int = MAX_VOXELS,
    nonfinite: Nonfinite = "refuse",
) -> Volume:
    """Read and check a volume; of DICOM the series ``series``, or the only PET series.

    ``force_units`` lets DICOM series through that are not quantitative. Raises InputError, and UsageError
    if a series is asked of a NIfTI file.
    """
    if is_dicom(source):
        return dicom.read(
            source,
            series=series,
            force_units=force_units,
            max_voxels=max_voxels,
            nonfinite=nonfinite,
        )
    return nifti.read(_file(source, series), max_voxels=max_voxels, nonfinite=nonfinite)


def look(
    source: VolumeSource,
    *,
    series: Wanted = None,
    force_units: bool = False,
    max_voxels: int = MAX_VOXELS,
) -> Glance:
    """Read and check headers, without voxels. Raises as ``read`` does."""
    if is_dicom(source):
        volume = dicom.look(source, series=series, force_units=force_units, max_voxels=max_voxels)
        return Glance(volume.data.shape, volume.affine_mm)
    return nifti.look(_file(source, series), max_voxels=max_voxels)


def sha256(source: VolumeSource, series: Wanted = None) -> str:
    """SHA-256 of a volume's bytes: of a file its own, of header and image or of the files of a DICOM series
    that of their hashes (``joined_sha256``), those of a series in ascending order. Raises as ``read`` does.
    """
    if is_dicom(source):
        return dicom.sha256(source, series)
    hashes = []
    for path in dict.fromkeys(nifti.files_of(Path(_file(source, series)))):
        if path.exists() and not path.is_file():  # a pipe would wait for its writer
            raise InputError(f"{shown(path)}: not a file", "give the path of one image")
        with reading(path):
            hashes.append(file_sha256(path))
    return hashes[0] if len(hashes) == 1 else joined_sha256(hashes)


def _file(source: VolumeSource, series: Wanted) -> Path_:
    assert isinstance(source, str | os.PathLike)
    if series is not None:
        raise UsageError(
            f"{shown(source)}: not DICOM, and has no series to choose", "leave out the series"
        )
    return source
