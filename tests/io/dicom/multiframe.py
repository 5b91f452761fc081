"""Enhanced PET objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage

from tests.io.dicom.dicom_files import write_series

AFFINE = np.array([[-2.0, 0, 0, 90], [0, -2.5, 0, 126], [0, 0, 3, -72], [0, 0, 0, 1]])

SHAPE = (8, 9, 7)

DATA = np.random.default_rng(0).gamma(2.0, 100.0, SHAPE) * np.arange(1, 8)


def group(frame: Dataset, name: str, **fields: Any) -> None:
    item = Dataset()
    for key, value in fields.items():
        setattr(item, key, value)
    setattr(frame, name, [item])


def unit(code: str, slope: float) -> Dataset:
    item, word = Dataset(), Dataset()
    setattr(word, "CodeValue" if len(code) <= 16 else "LongCodeValue", code)
    word.CodingSchemeDesignator, word.CodeMeaning = "UCUM", code
    item.MeasurementUnitsCodeSequence = [word]
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, 0.0
    return item


def enhanced(
    target: Path,
    tmp_path: Path,
    *,
    code: str = "Bq/ml",
    times: int = 1,
    legacy: bool = False,
    **changes: Any,
) -> Path:
    """The slices of DATA (times t + 1 in frame t) as frames of one file, in a mixed order."""
    paths = write_series(tmp_path / "single", DATA, AFFINE)
    slices = [pydicom.dcmread(path) for path in paths]
    whole = pydicom.dcmread(paths[0])
    kind = LegacyConvertedEnhancedPETImageStorage if legacy else EnhancedPETImageStorage
    own = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope")
    for field in (*own, "RescaleIntercept", "Units", "AcquisitionTime", "AcquisitionDate"):
        delattr(whole, field)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = kind
    places = [(k, t) for t in range(times) for k in range(SHAPE[2])]
    mixed = [places[n] for n in np.random.default_rng(1).permutation(len(places))]
    frames, pixels = [], []
    for k, t in mixed:
        frame, single = Dataset(), slices[k]
        slope = float(single.RescaleSlope) * (t + 1)
        group(frame, "PlanePositionSequence", ImagePositionPatient=single.ImagePositionPatient)
        if legacy:
            group(frame, "PixelValueTransformationSequence", RescaleSlope=slope, RescaleIntercept=0)
            group(frame, "UnassignedPerFrameConvertedAttributesSequence", TriggerTime=100 * t)
        else:
            # The map is of the stored values: a rescaling beside it must not be applied.
            group(frame, "PixelValueTransformationSequence", RescaleSlope=7, RescaleIntercept=0)
            frame.RealWorldValueMappingSequence = [unit("{unknown}", 3), unit(code, slope)]
        group(
            frame,
            "FrameContentSequence",
            FrameAcquisitionDateTime=f"200001011{t}1112.50+0100",
            FrameAcquisitionDuration=60000.0,
        )
        frames.append(frame)
        pixels.append(single.PixelData)
    whole.PerFrameFunctionalGroupsSequence = frames
    shared = Dataset()
    group(shared, "PixelMeasuresSequence", PixelSpacing=slices[0].PixelSpacing)
    group(
        shared,
        "PlaneOrientationSequence",
        ImageOrientationPatient=slices[0].ImageOrientationPatient,
    )
    if legacy:
        group(shared, "UnassignedSharedConvertedAttributesSequence", Units="CNTS")
    whole.SharedFunctionalGroupsSequence = [shared]
    whole.AttenuationCorrected = whole.DecayCorrected = "YES"
    whole.NumberOfFrames, whole.PixelData = len(frames), b"".join(pixels)
    for key, value in changes.items():
        setattr(whole, key, value)
    target.parent.mkdir(exist_ok=True)
    whole.save_as(target)
    return target
