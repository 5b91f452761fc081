"""Small scans at several doses: a lumpy head whose noise rises as the dose falls, and their files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

SHAPE = (18, 22, 14)
AFFINE = np.array(
    [[-4.0, 0, 0, 30], [0, 4.0, 0, -40], [0, 0, 4.0, -20], [0, 0, 0, 1]]
)  # the first axis runs to the left, as on most scanners
LEVEL = 2e4
LOW = "Subject_1-4/29052{}_DOE/1-{} dose/DOE.nii"  # in a challenge folder


def scan(
    subject: int, dose: int = 1, *, shape: tuple[int, int, int] = SHAPE, noise: float = 0.02
) -> np.ndarray:
    """Subject number ``subject`` at 1/``dose``: float32 of ``shape`` in Bq/ml."""
    anatomy = np.random.default_rng(subject)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    head = sum(axis**2 for axis in axes) < 0.8
    lumps = gaussian_filter(anatomy.standard_normal(shape), 2)
    activity = LEVEL * head * np.exp(1.5 * lumps / lumps.std())
    rng = np.random.default_rng([subject, dose])
    noisy = activity * (1 + noise * np.sqrt(dose) * rng.standard_normal(shape))
    return noisy.astype(np.float32)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write ``data`` as NIfTI, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


def challenge(
    folder: Path, subjects: int = 4, doses: tuple[int, ...] = (20, 100), affine: np.ndarray = AFFINE
) -> Path:
    """Subjects of a Siemens folder, each scan one NIfTI file."""
    for k in range(subjects):
        place = folder / "Subject_1-4" / f"29052{k}_DOE"
        save(place / "Full_dose" / "DOE.nii", scan(k), affine)
        for dose in doses:
            save(place / f"1-{dose} dose" / "DOE.nii", scan(k, dose), affine)
    return folder


def refusals(report) -> dict[tuple[str, int | None], str]:
    return {(each.name, each.dose): each.reason for each in report.refused}
