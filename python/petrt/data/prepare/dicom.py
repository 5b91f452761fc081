"""One DICOM series of a source as a volume with what its headers say of patient and place."""

from __future__ import annotations

from pathlib import Path

from petrt.data.prepare.scan import LoadedScan
from petrt.io.dicom import series as dicom


def load_series(folder: Path, salt: bytes) -> LoadedScan:
    """The only series in ``folder``; raises InputError as petrt.io.dicom.series.read does."""
    volume = dicom.read(folder)
    (info,) = dicom.inspect(folder, salt=salt)
    return LoadedScan(
        volume.data,
        volume.affine_mm,
        unit=info.units or None,
        patient=info.patient_key or None,
        frame=info.frame_of_reference_uid or None,
    )
