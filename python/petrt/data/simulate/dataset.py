"""Writes a data set of simulated subjects.

Files in its folder:
    dataset.json                       seed, subjects, doses, grid, versions; written last
    sub-0000_rec-full_pet.nii.gz       full dose
    sub-0000_rec-1to100_pet.nii.gz     one per dose reduction
    sub-0000_rec-truth_pet.nii.gz      the noise-free activity at the scanner's resolution
    sub-0000_dseg.nii.gz               labels
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import scipy
from numpy.typing import NDArray

from petrt.data.simulate.phantom import LABELS
from petrt.data.simulate.subject import Shape, check_request, simulate_subject
from petrt.errors import UsageError
from petrt.files.atomic import (
    atomic_write_bytes,
    atomic_write_json,
    check_output,
    explained,
    together,
)
from petrt.hardware.processes import in_workers

NOTICE = "simulated data; not for diagnostic use"
INDEX = "dataset.json"


@dataclass(frozen=True)
class _Job:
    """Settings for all subjects of a data set; called with a number, it writes that subject."""

    out: Path
    seed: int
    doses: tuple[int, ...]
    shape: Shape
    voxel_mm: float
    overwrite: bool

    def __call__(self, number: int) -> int:
        subject = simulate_subject(
            self.seed, number, doses=self.doses, shape=self.shape, voxel_mm=self.voxel_mm
        )
        volumes: dict[str, NDArray[Any]] = {
            "full": subject.full,
            "truth": subject.truth,
            "labels": subject.labels,
        }
        volumes |= {f"1to{dose}": volume for dose, volume in subject.low.items()}
        with together():
            for key, name in subject_files(number, self.doses).items():
                content = nifti_gz(volumes[key], subject.affine)
                atomic_write_bytes(self.out / name, content, overwrite=self.overwrite)
        return number


def write_dataset(
    out: Path | str,
    subjects: Iterable[int],
    seed: int,
    doses: Iterable[int] = (100,),
    *,
    shape: Shape = (128, 128, 128),
    voxel_mm: float = 2.0,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Simulate ``subjects`` (their numbers) into the folder ``out``; return its dataset.json.

    The files are the same for any number of ``workers`` (processes). ``progress`` is called with
    each number when its files are written. dataset.json is written last, so it marks a complete data
    set. Raises UsageError, before anything is simulated, for arguments that ``check_request`` refuses,
    for no subjects, and if an output exists and ``overwrite`` is false.
    """
    numbers = sorted(set(subjects))
    job = _Job(Path(out), seed, tuple(sorted(set(doses))), shape, voxel_mm, overwrite)
    if not numbers:
        raise UsageError("there is no subject to simulate", "ask for at least one")
    if workers < 1:
        raise UsageError(f"cannot simulate with {workers} workers", "ask for at least one")
    for number in numbers:
        check_request(seed, number, job.doses, shape, voxel_mm)
    _prepare_folder(job, numbers)
    for number in in_workers(job, [(number,) for number in numbers], workers):
        if progress:
            progress(number)
    atomic_write_json(job.out / INDEX, _description(job, numbers), overwrite=overwrite)
    return job.out / INDEX


def subject_files(number: int, doses: Iterable[int]) -> dict[str, str]:
    """Key (full, truth, labels, 1toD) -> file name of each volume of subject ``number``."""
    name = f"sub-{number:04d}"
    files = {key: f"{name}_rec-{key}_pet.nii.gz" for key in ("full", "truth")}
    files["labels"] = f"{name}_dseg.nii.gz"
    return files | {f"1to{dose}": f"{name}_rec-1to{dose}_pet.nii.gz" for dose in doses}


def nifti_gz(volume: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    """``volume`` as .nii.gz bytes, which do not depend on time or file name."""
    image = nib.Nifti1Image(volume, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"petrt {NOTICE}".encode()
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _prepare_folder(job: _Job, numbers: Sequence[int]) -> None:
    """Make the folder. Raises UsageError for outputs that cannot be written."""
    if job.out.exists() and not job.out.is_dir():
        raise UsageError(f"{job.out.name} is a file, not a folder", "choose another output folder")
    with explained(job.out):
        job.out.mkdir(parents=True, exist_ok=True)
    names = [name for n in numbers for name in subject_files(n, job.doses).values()]
    for name in (INDEX, *names):
        check_output(job.out / name, overwrite=job.overwrite)
    # An old index must not describe an incomplete new data set.
    with explained(job.out / INDEX):
        (job.out / INDEX).unlink(missing_ok=True)


def _description(job: _Job, numbers: Sequence[int]) -> dict[str, Any]:
    """The content of dataset.json."""
    return {
        "description": f"FDG brain PET: {NOTICE}",
        "units": "Bq/ml",
        "seed": job.seed,
        "subjects": list(numbers),
        "doses": list(job.doses),
        "shape": list(job.shape),
        "voxel_mm": job.voxel_mm,
        "labels": LABELS,
        "files": {f"sub-{n:04d}": subject_files(n, job.doses) for n in numbers},
        "versions": {
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "nibabel": nib.__version__,
        },
    }
