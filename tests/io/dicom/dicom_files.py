"""Synthetic DICOM PET series for tests: every slice its own slope, a patient's name wherever one fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage

PATIENT = "DOE^JANE"
SERIES, STUDY, FRAME = "1.2.3.4", "1.2.3", "1.2.9"
# A volume, and its grid in RAS: rows to the left, columns to the back.
AFFINE = np.array([[-2.0, 0, 0, 90], [0, -2, 0, 126], [0, 0, 3, -72], [0, 0, 0, 1]])
SHAPE = (8, 9, 7)
DATA = np.random.default_rng(0).gamma(2.0, 100.0, SHAPE)


def write_series(
    folder: Path,
    volume: np.ndarray,
    affine: np.ndarray,
    *,
    name: Callable[[int], str] = "DOE_JANE.{:04d}.dcm".format,
    syntax: str = ExplicitVRLittleEndian,
    **changes: Any,
) -> list[Path]:
    """Write ``volume`` [X, Y, Z] on the RAS ``affine`` as one file a slice; their paths in order of z.

    ``changes``: DICOM keyword = value, None to leave the field out, or a function of the slice's
    index that gives either. A slope given so is used in storing the pixels, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(volume.shape[2]):
        fields = usual_fields(volume, affine, k)
        fields |= {key: each(k) if callable(each) else each for key, each in changes.items()}
        slope = fields["RescaleSlope"] or 1
        stored = np.rint(volume[:, :, k].T / float(slope)).astype(np.int16)
        swapped = syntax == pydicom.uid.ExplicitVRBigEndian
        content = stored.astype(">i2" if swapped else "<i2").tobytes()
        fields = {"PixelData": content} | fields
        paths.append(folder / name(k))
        _save(paths[-1], fields, syntax)
    return paths


def change(path: Path, **changes: Any) -> None:
    """Set fields of one file, or remove those that are None."""
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(path)
        for key, value in changes.items():
            if value is None:
                delattr(dataset, key)
            else:
                setattr(dataset, key, value)
        dataset.save_as(path)


def energy_window(low: float, high: float) -> list[Dataset]:
    window = Dataset()
    window.EnergyWindowLowerLimit, window.EnergyWindowUpperLimit = low, high
    return [window]


def usual_fields(volume: np.ndarray, affine: np.ndarray, k: int) -> dict[str, Any]:
    """The fields of slice k, without its pixels."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    across, down, _ = np.linalg.norm(lps[:3, :3], axis=0)
    orientation = np.concatenate([lps[:3, 0] / across, lps[:3, 1] / down])
    columns, rows, slices = volume.shape
    return {
        "Modality": "PT",
        "Manufacturer": "Maker",
        "PatientName": PATIENT,
        "PatientID": PATIENT,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "FrameOfReferenceUID": FRAME,
        "SOPInstanceUID": f"1.2.5.{k + 1}",
        "SeriesDescription": PATIENT,
        "StudyDate": "20000101",
        "StudyTime": "100000",
        "AcquisitionDate": "20000101",
        "AcquisitionTime": "101112",
        "InstanceNumber": k + 1,
        "NumberOfSlices": slices,
        "ImagePositionPatient": [f"{v:.9g}" for v in (lps @ [0, 0, k, 1])[:3]],
        "ImageOrientationPatient": [f"{v:.9g}" for v in orientation],
        "PixelSpacing": [f"{down:.9g}", f"{across:.9g}"],
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "Units": "BQML",
        "RescaleSlope": f"{max(float(np.abs(volume[:, :, k]).max()), 1e-3) / 32000:.9g}",
        "RescaleIntercept": 0,
        "EnergyWindowRangeSequence": energy_window(435, 650),
    }


def _save(path: Path, fields: dict[str, Any], syntax: str) -> None:
    with pydicom.config.disable_value_validation():
        dataset = Dataset()
        dataset.SOPClassUID = PositronEmissionTomographyImageStorage
        for key, value in fields.items():
            if value is not None:
                setattr(dataset, key, value)
            elif key in dataset:
                delattr(dataset, key)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = fields["SOPInstanceUID"]
        if "PixelData" in dataset:
            dataset["PixelData"].VR = "OW"
        pydicom.dcmwrite(
            path,
            dataset,
            enforce_file_format=True,
            little_endian=syntax != pydicom.uid.ExplicitVRBigEndian,
            implicit_vr=syntax == pydicom.uid.ImplicitVRLittleEndian,
        )


def radiopharmaceutical(half_life_s: float) -> list[Dataset]:
    drug = Dataset()
    drug.RadionuclideHalfLife = half_life_s
    drug.RadionuclideTotalDose = 3.5e8
    drug.RadiopharmaceuticalStartTime = "090000"
    return [drug]
