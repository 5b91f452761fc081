"""Synthetic PET series with everything that SUV needs, and the same series with one thing changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from tests.io.dicom.dicom_files import write_series

AFFINE = np.array([[-2.0, 0, 0, 90], [0, -2.5, 0, 126], [0, 0, 3, -72], [0, 0, 0, 1]])
VOXEL_ML = 2 * 2.5 * 3 / 1000
SHAPE = (5, 4, 6)
DOSE, WEIGHT_G, HALF_LIFE = 3.5e8, 70e3, 6586.2
RATE = math.log(2) / HALF_LIFE
DURATION = 300.0
# The moment in a frame when the activity equals its mean, and the mean's ratio to the start.
MEAN = RATE * DURATION / (1 - math.exp(-RATE * DURATION))
MIDDLE = math.log(MEAN) / RATE
CORRECTED = ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"]
PHILIPS = (0x7053, "Philips PET Private Group", "DS")
GE = (0x0009, "GEMS_PETD_01", "DT")


def drug(**changes: Any) -> list[Dataset]:
    """The sequence with F-18, given an hour before the scan; ``changes`` as in ``write_series``."""
    fields: dict[str, Any] = {
        "Radiopharmaceutical": "FDG",
        "RadionuclideTotalDose": DOSE,
        "RadionuclideHalfLife": HALF_LIFE,
        "RadiopharmaceuticalStartDateTime": "20250101100000.000000",
    }
    item = Dataset()
    with pydicom.config.disable_value_validation():
        for key, value in (fields | changes).items():
            if value is not None:
                setattr(item, key, value)
    return [item]


def bed(k: int) -> int:
    """Slices 0 to 2 are of the first bed, the others of the second, which begins 300 s later."""
    return k // 3


def write(
    folder: Path,
    *,
    value: float = 1000.0,
    shape: tuple[int, int, int] = SHAPE,
    private: Sequence[tuple[tuple[int, str, str], int, Any]] = (),
    creators: bool = True,
    **changes: Any,
) -> Path:
    """A uniform series of ``value`` in its unit, with ``private`` elements (block, element, value).

    Without ``creators`` the elements that name the private blocks are left out.
    """
    fields: dict[str, Any] = {
        "RescaleSlope": 0.5,
        "CorrectedImage": CORRECTED,
        "DecayCorrection": "START",
        "SeriesDate": "20250101",
        "SeriesTime": "110000",
        "AcquisitionDate": "20250101",
        "AcquisitionTime": "110000",
        "ActualFrameDuration": str(int(DURATION * 1000)),
        "FrameReferenceTime": f"{MIDDLE * 1000:.3f}",
        "PatientWeight": 70,
        "PatientSize": 1.75,
        "PatientSex": "M",
        "RadiopharmaceuticalInformationSequence": drug(),
    }
    paths = write_series(folder, np.full(shape, value), AFFINE, **(fields | changes))
    for path in paths if private else ():
        dataset = pydicom.dcmread(path)
        for (group, creator, vr), element, content in private:
            block = dataset.private_block(group, creator, create=True)
            block.add_new(element, vr, content)
            if not creators:
                del dataset[group, 0x10]
        dataset.save_as(path)
    return folder
