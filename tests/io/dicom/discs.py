"""A disc with a DICOMDIR, and what it holds."""

from __future__ import annotations

from pathlib import Path

from pydicom.fileset import FileSet

from tests.io.dicom.dicom_files import AFFINE, DATA, change, write_series

CT = {"Modality": "CT", "SeriesInstanceUID": "1.2.7", "Units": None}


def disc(tmp_path: Path) -> Path:
    """A disc with its DICOMDIR: a PET and a CT series."""
    content = FileSet()
    for path in write_series(tmp_path / "pet", DATA, AFFINE):
        change(path, StudyID="1", PatientName="DOE^JANE", SeriesNumber=1)
        content.add(path)
    for path in write_series(tmp_path / "ct", DATA[:, :, :3], AFFINE, **CT, SOPInstanceUID=ct_uid):
        change(path, StudyID="1", SeriesNumber=2)
        content.add(path)
    content.write(tmp_path / "disc")
    content._stage["t"].cleanup()  # it would warn that it does so itself
    return tmp_path / "disc" / "DICOMDIR"


def ct_uid(k: int) -> str:
    return f"1.2.6.{k + 1}"
