"""A small BIDS data set with PET: two subjects, one with two sessions, the second of them dynamic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests.models import noisy_blob

SHAPE = (16, 20, 3)
FILES = (
    "sub-01/pet/sub-01_trc-FDG_pet.nii.gz",
    "sub-02/ses-late/pet/sub-02_ses-late_trc-FDG_run-1_pet.nii.gz",
    "sub-02/ses-test/pet/sub-02_ses-test_trc-FDG_pet.nii.gz",
)
FRAMES = (1, 2, 1)
# What the specification requires of every PET file, but for the times of the frames.
METADATA: dict[str, Any] = {
    "Manufacturer": "Siemens",
    "ManufacturersModelName": "HR+",
    "Units": "Bq/mL",
    "BodyPart": "BRAIN",
    "TracerName": "FDG",
    "TracerRadionuclide": "F18",
    "InjectedRadioactivity": 10.0,
    "InjectedRadioactivityUnits": "MBq",
    "InjectedMass": 5.0,
    "InjectedMassUnits": "ug",
    "SpecificRadioactivity": 2.0,
    "SpecificRadioactivityUnits": "Bq/g",
    "ModeOfAdministration": "bolus",
    "TimeZero": "10:00:00",
    "ScanStart": 3600,
    "InjectionStart": 0,
    "AcquisitionMode": "list mode",
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
    "ReconMethodName": "OSEM",
    "ReconMethodParameterLabels": ["subsets", "iterations"],
    "ReconMethodParameterUnits": ["none", "none"],
    "ReconMethodParameterValues": [16, 4],
    "ReconFilterType": "none",
    "AttenuationCorrection": "CT",
    "ScaleFactor": [1.0],
    "PatientName": "Smith^John",  # as a converter leaves it
}


def times(frames: int) -> dict[str, list[float]]:
    return {
        "FrameTimesStart": [300.0 * n for n in range(frames)],
        "FrameDuration": [300.0] * frames,
    }


def write_image(path: Path, frames: int, seed: int = 0) -> Path:
    """A PET volume in voxels of 2 mm, or a series of ``frames``."""
    data = noisy_blob(SHAPE) + seed
    if frames > 1:
        data = np.stack([data + n for n in range(frames)], -1)
    image = nibabel.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def sidecar(path: Path) -> Path:
    return path.with_name(path.name.replace(".nii.gz", ".json"))


def make(root: Path) -> Path:
    """The metadata of all lie at the root, the times of the frames beside each file."""
    for seed, (name, frames) in enumerate(zip(FILES, FRAMES, strict=True)):
        path = write_image(root / name, frames, seed)
        write_json(sidecar(path), times(frames))
    write_json(root / "trc-FDG_pet.json", METADATA)
    description = {"Name": "Two & more", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    description |= {"Authors": ["A. Author"], "License": "CC0"}
    write_json(root / "dataset_description.json", description)
    (root / "README.md").write_text("A data set for tests of petrt, of simulated volumes only.\n")
    return root
