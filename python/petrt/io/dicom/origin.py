"""The source of a volume from DICOM: the file of each slice, and what was done to its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrt.errors import InputError, way
from petrt.io.dicom.header import Header

if TYPE_CHECKING:
    from petrt.io.volume import Volume


@dataclass(frozen=True)
class Plane:
    """One slice of one frame.

    ``header`` holds its fields, and ``header.file`` opens the whole file, also after the reading.
    ``index`` is the number of the slice in a multi-frame file, from 0; 0 in other files. A value of the
    volume is ``factor * RescaleSlope * stored value``: ``factor`` brings slices of several acquisition
    times to one clock, and counts with several factors to one scale; it is 1 otherwise.
    """

    header: Header
    index: int = 0
    factor: float = 1.0


@dataclass(frozen=True)
class PetSeries:
    """A series as it was read: ``frames[t][k]`` is the source of ``data[:, :, k]`` of frame t (time or gate).

    ``units`` is the field Units of its files, which is the unit of the volume, too.
    """

    uid: str
    units: str
    frames: tuple[tuple[Plane, ...], ...]


def source_series(like: Volume) -> PetSeries:
    """The DICOM series that a volume came from. Raises InputError if it came from elsewhere."""
    if like.series is None:
        raise InputError(
            "the volume is not from DICOM, so there is no series to derive one from",
            way("out_format", "nifti", "writes NIfTI", "write it as NIfTI"),
        )
    return like.series
