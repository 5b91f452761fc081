"""A result in the kind of file that its path names: NIfTI, a DICOM series, or a DICOM Parametric Map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from petrt.errors import UsageError
from petrt.files.names import shown
from petrt.files.outputs import check_output
from petrt.io import nifti
from petrt.io.dicom import parametric_map, writer
from petrt.io.source import is_dicom
from petrt.io.volume import DESCRIPTION
from petrt.values import word

if TYPE_CHECKING:
    from petrt.arrays import Array
    from petrt.io.dicom.derivation import Derivation
    from petrt.io.source import VolumeSource
    from petrt.io.volume import Volume

Format = Literal["nifti", "dicom"]
# A folder is a series, a single DICOM file a Parametric Map.
Kind = Literal["nifti", "series", "map"]
FORMATS = ("nifti", "dicom")
NIFTI_NAMES = (".nii", ".nii.gz")
MAP_NAME = ".dcm"


def format_for(source: VolumeSource | None, wanted: str | None, path: Path | None = None) -> Format:
    """The format of a result: ``wanted``, or what ``path`` is named as, or what came in. ``source``: None for
    a volume that came from no file.

    Raises UsageError for DICOM where the input is none, and for a name that says otherwise.
    """
    named_nifti = path is not None and path.name.lower().endswith(NIFTI_NAMES)
    from_dicom = source is not None and is_dicom(source)
    if wanted is None:
        return "dicom" if not named_nifti and from_dicom else "nifti"
    if word("out_format", wanted, FORMATS) == "nifti":
        return "nifti"
    if named_nifti:
        assert path is not None
        raise UsageError(f"{shown(path)}: named as NIfTI, and the format is dicom", "name a folder")
    if not from_dicom:
        name = shown(source) if isinstance(source, str | os.PathLike) else "the input"
        raise UsageError(
            f"{name}: not DICOM, so there is no series to derive one from", "write NIfTI"
        )
    return "dicom"


def kind_of(path: Path, form: Format, *, deviation: bool = False) -> Kind:
    """What ``path`` becomes in the format ``form``. A map of deviations may be a Parametric Map."""
    if form == "nifti":
        return "nifti"
    if deviation and path.name.lower().endswith(MAP_NAME):
        return "map"
    return "series"


def check(path: Path, kind: Kind, inputs: Sequence[Any] = (), *, overwrite: bool = False) -> None:
    """Raise UsageError if an output cannot be written. To be called before any work."""
    if kind == "series":
        if path.name.lower().endswith(MAP_NAME):
            raise UsageError(
                f"{shown(path)}: a series is a folder, this is the name of a file", "name a folder"
            )
        writer.check_series_output(path, inputs, overwrite=overwrite)
        return
    if kind == "nifti":
        nifti.check_nifti_name(path)
    else:
        parametric_map.check_installed()
    check_output(path, inputs, overwrite=overwrite)


def write(
    path: Path,
    data: Array,
    like: Volume,
    kind: Kind,
    derivation: Derivation,
    *,
    description: str = DESCRIPTION,
    compress: writer.Compression | None = None,
    overwrite: bool = False,
) -> None:
    """Write a result with what its ``kind`` says of its making; it appears whole or not at all."""
    if kind == "nifti":
        nifti.write(
            path, data, like, description=description, key=derivation.key, overwrite=overwrite
        )
    elif kind == "series":
        writer.write_series(path, data, like, derivation, compress=compress, overwrite=overwrite)
    else:
        parametric_map.write_map(path, data, like, derivation, overwrite=overwrite)
