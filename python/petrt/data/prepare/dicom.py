"""Loads a DICOM series of a source, with its patient key and frame of reference."""

from __future__ import annotations

from pathlib import Path

from petrt.data.prepare.scan import LoadedScan, Reading
from petrt.io import source
from petrt.io.dicom import series as dicom


def load_series(folder: Path, salt: bytes, reading: Reading) -> LoadedScan:
    """The only PET series in ``folder``, or that of ``reading.series``. Raises InputError as
    petrt.io.dicom.series.read."""
    volume = dicom.read(
        folder,
        series=source.among_several(folder, reading.series),
        force_units=reading.force_units,
        max_voxels=reading.max_voxels,
        nonfinite=reading.nonfinite,
    )
    assert volume.series is not None
    uid = volume.series.uid
    (info,) = [each for each in dicom.inspect(folder, salt=salt) if each.series_uid == uid]
    return LoadedScan(
        volume.data,
        volume.affine_mm,
        unit=info.units or None,
        patient=info.patient_key or None,
        frame=info.frame_of_reference_uid or None,
    )
