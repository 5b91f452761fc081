"""Loads a DICOM series of a source, with its patient key and frame of reference."""

from __future__ import annotations

from pathlib import Path

from petrt.data.prepare.scan import LoadedScan, Reading
from petrt.io.dicom import series as dicom


def load_series(folder: Path, salt: bytes, reading: Reading) -> LoadedScan:
    """The only series in ``folder``. Raises InputError as petrt.io.dicom.series.read."""
    volume = dicom.read(
        folder,
        force_units=reading.force_units,
        max_voxels=reading.max_voxels,
        nonfinite=reading.nonfinite,
    )
    (info,) = dicom.inspect(folder, salt=salt)
    return LoadedScan(
        volume.data,
        volume.affine_mm,
        unit=info.units or None,
        patient=info.patient_key or None,
        frame=info.frame_of_reference_uid or None,
    )
