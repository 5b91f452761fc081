"""A synthetic PET series as scanners write it: all that a PET image must state, and private elements.

Its headers have no fault that dciodvfy knows of, so that a fault of what is derived from it is petrt's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from tests.io.dicom.dicom_files import write_series

AFFINE = np.array([[-2.0, 0, 0, 90], [0, -2.5, 0, 126], [0, 0, 3, -72], [0, 0, 0, 1]])
SHAPE = (12, 14, 6)
SECRET = "DOE PRIVATE"


def activity(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Slices of very different brightness, some voxels below zero."""
    rng = np.random.default_rng(seed)
    level = 10.0 ** rng.uniform(1, 5, shape[2])
    return (rng.gamma(2.0, size=shape) - 0.2) * level


def code(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def drug() -> Dataset:
    item = Dataset()
    item.Radiopharmaceutical = "FDG"
    item.RadiopharmaceuticalStartTime = "090000"
    item.RadiopharmaceuticalStartDateTime = "20000101090000"
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = "350000000", "6586.2"
    item.RadionuclidePositronFraction = "0.97"
    item.RadionuclideCodeSequence = [code("77004003", "^18^Fluorine")]
    item.RadiopharmaceuticalCodeSequence = [code("35321007", "Fluorodeoxyglucose F^18^")]
    return item


def fields(slices: int) -> dict[str, Any]:
    """Beside those of ``write_series``: what PET must state (PS3.3 A.21 and C.8.9)."""
    return {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "StudyInstanceUID": "1.2.826.0.1.1",
        "SeriesInstanceUID": "1.2.826.0.1.1.2",
        "FrameOfReferenceUID": "1.2.826.0.1.1.3",
        "SOPInstanceUID": lambda k: f"1.2.826.0.1.1.2.{k + 1}",
        "SeriesDate": "20000101",
        "SeriesTime": "101112",
        "ContentDate": "20000101",
        "ContentTime": "102000",
        "AccessionNumber": "",
        "StudyID": "1",
        "ReferringPhysicianName": "",
        "PatientBirthDate": "",
        "PatientSex": "F",
        "PatientWeight": "70",
        "PatientSize": "1.7",
        "SeriesNumber": 4,
        "SeriesDescription": "PET WB AC",
        "BodyPartExamined": "CHEST",
        "PositionReferenceIndicator": "",
        "CollimatorType": "NONE",
        "SliceThickness": "3",
        "ActualFrameDuration": 120000,
        "CorrectedImage": ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"],
        "SeriesType": ["STATIC", "IMAGE"],
        "CountsSource": "EMISSION",
        "DecayCorrection": "START",
        "DecayFactor": "1.01",
        "FrameReferenceTime": "60000",
        "ImageIndex": lambda k: k + 1,
        "NumberOfSlices": slices,
        "RadiopharmaceuticalInformationSequence": [drug()],
        "PatientOrientationCodeSequence": [_supine()],
        "PatientGantryRelationshipCodeSequence": [code("102540001", "Headfirst")],
        "EnergyWindowRangeSequence": [_window()],
        "SmallestImagePixelValue": None,
        "WindowCenter": "5000",
        "WindowWidth": "10000",
    }


def clinical(folder: Path, volume: np.ndarray | None = None, **changes: Any) -> list[Path]:
    """Write the series, with private elements, an overlay and an icon in every file."""
    volume = activity() if volume is None else volume
    given = {key: value for key, value in fields(volume.shape[2]).items() if value is not None}
    paths = write_series(folder, volume, AFFINE, **given | changes)
    for path in paths:
        dataset = pydicom.dcmread(path)
        with_extras(dataset)
        dataset.save_as(path, enforce_file_format=True)
    return paths


def with_extras(dataset: Dataset) -> None:
    """Private elements, known and unknown, an overlay and an icon, each with the patient's name in it."""
    philips = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
    philips.add_new(0x00, "DS", "0.000123")
    philips.add_new(0x09, "DS", "1.75")
    philips.add_new(0x03, "ST", SECRET)
    ge = dataset.private_block(0x0009, "GEMS_PETD_01", create=True)
    ge.add_new(0x0D, "DT", "20000101100102.00")
    ge.add_new(0x3B, "LO", SECRET)  # no time, as it should be
    other = dataset.private_block(0x0033, "MAKER", create=True)
    other.add_new(0x01, "LO", SECRET)
    nested = dataset.RadiopharmaceuticalInformationSequence[0]
    nested.private_block(0x0033, "MAKER", create=True).add_new(0x01, "LO", SECRET)
    dataset.add_new(0x60000010, "US", 1)
    dataset.add_new(0x60003000, "OW", SECRET.encode() + b" ")
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.add_new(0x7FE00010, "OB", SECRET.encode() + b" ")
    dataset.IconImageSequence = [icon]


def _supine() -> Dataset:
    item = code("102538003", "recumbent")
    item.PatientOrientationModifierCodeSequence = [code("40199007", "supine")]
    return item


def _window() -> Dataset:
    item = Dataset()
    item.EnergyWindowLowerLimit, item.EnergyWindowUpperLimit = "435", "650"
    return item
