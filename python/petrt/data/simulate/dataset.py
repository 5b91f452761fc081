"""Writes a data set of simulated subjects.

Files in its folder:
    dataset.json                       seed, scanner, subjects, doses, grid, versions, hashes, what was
                                       drawn for each subject (varied scanner); written last
    sub-0000_rec-full_pet.nii.gz       full dose
    sub-0000_rec-1to100_pet.nii.gz     one per dose reduction
    sub-0000_rec-truth_pet.nii.gz      the noise-free activity at the scanner's resolution
    sub-0000_dseg.nii.gz               labels
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import scipy
from numpy.typing import NDArray

from petrt.data.simulate.phantom import LABELS
from petrt.data.simulate.scanner import UNIT
from petrt.data.simulate.subject import Shape, check_request, drawn_parameters, simulate_subject
from petrt.errors import UsageError
from petrt.files.atomic import atomic_write_bytes, atomic_write_json, together
from petrt.files.json_text import parsed
from petrt.files.locks import owned
from petrt.files.names import shown
from petrt.files.outputs import check_output, explained
from petrt.hardware.processes import in_workers
from petrt.values import MOST_WORKERS, whole

logger = logging.getLogger(__name__)

NOTICE = "simulated data; not for diagnostic use"
INDEX = "dataset.json"
# Folder for the hashes of the files of an incomplete data set.
RECORDS = ".petrt-simulate"


@dataclass(frozen=True)
class _Job:
    """Settings for all subjects of a data set; called with a number, it writes that subject."""

    out: Path
    seed: int
    doses: tuple[int, ...]
    shape: Shape
    voxel_mm: float | None
    scanner: str
    overwrite: bool

    @property
    def request(self) -> dict[str, Any]:
        """All that the content of a file depends on, besides its name."""
        return {
            "seed": self.seed,
            "scanner": self.scanner,
            "shape": list(self.shape) if self.voxel_mm else None,
            "voxel_mm": self.voxel_mm,
            "versions": versions(),
        }

    def __call__(self, number: int) -> tuple[int, dict[str, str]]:
        """Write the subject; its number, and the hash of each of its files."""
        subject = simulate_subject(
            self.seed,
            number,
            doses=self.doses,
            shape=self.shape,
            voxel_mm=self.voxel_mm,
            scanner=self.scanner,
        )
        volumes: dict[str, NDArray[Any]] = {
            "full": subject.full,
            "truth": subject.truth,
            "labels": subject.labels,
        }
        volumes |= {f"1to{dose}": volume for dose, volume in subject.low.items()}
        contents = {
            name: nifti_gz(volumes[key], subject.affine)
            for key, name in subject_files(number, self.doses).items()
        }
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        # Before the files, so that the next run knows those that a killed one leaves.
        _remember(self, number, hashes)
        with together():
            for name, content in contents.items():
                if _hash(self.out / name) != hashes[name]:
                    atomic_write_bytes(self.out / name, content, overwrite=self.overwrite)
        return number, hashes


def write_dataset(
    out: Path | str,
    subjects: Iterable[int],
    seed: int,
    doses: Iterable[int] = (100,),
    *,
    shape: Shape = (128, 128, 128),
    voxel_mm: float | None = 2.0,
    scanner: str = "basic",
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Simulate ``subjects`` (their numbers) into the folder ``out``; return its dataset.json.

    ``scanner``, and ``voxel_mm`` None: see ``simulate_subject``.
    The files are the same for any number of ``workers`` (processes). ``progress`` is called with
    each number when its files are written. dataset.json is written last, so it marks a complete data
    set. Subjects that an earlier call, also an interrupted one, wrote from the same seed and grid are
    kept if the hashes of their files are still the same. Raises UsageError, before anything is simulated,
    for arguments that ``check_request`` refuses, for no subjects, if another process writes there, and
    if any other output exists and ``overwrite`` is false.
    """
    numbers = sorted(set(subjects))
    job = _Job(Path(out), seed, tuple(sorted(set(doses))), shape, voxel_mm, scanner, overwrite)
    if not numbers:
        raise UsageError("there is no subject to simulate", "ask for at least one")
    workers = whole("workers", workers, 0, MOST_WORKERS)
    if workers < 1:
        raise UsageError(f"cannot simulate with {workers} workers", "ask for at least one")
    for number in numbers:
        check_request(seed, number, job.doses, shape, voxel_mm, scanner)
    _make_folder(job.out)
    with owned(job.out):
        done = _done(job, numbers)
        _check_outputs(job, numbers, done)
        if done:
            logger.info("%d of %d subjects are there already", len(done), len(numbers))
        if len(done) == len(numbers) and _index_holds(job, numbers):
            return job.out / INDEX
        _put_index_away(job, numbers)
        hashes = {name: value for files in done.values() for name, value in files.items()}
        for number in done:
            if progress:
                progress(number)
        todo = [(number,) for number in numbers if number not in done]
        for number, written in in_workers(job, todo, workers) if todo else ():
            hashes |= written
            if progress:
                progress(number)
        content = _description(job, numbers, hashes)
        atomic_write_json(job.out / INDEX, content, overwrite=overwrite)
        shutil.rmtree(job.out / RECORDS, ignore_errors=True)
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


def versions() -> dict[str, str]:
    """The versions of the packages that decide the content of the files."""
    return {"numpy": np.__version__, "scipy": scipy.__version__, "nibabel": nib.__version__}


def _make_folder(out: Path) -> None:
    """Make the folder. Raises UsageError if that is not possible."""
    with explained(out):
        if out.exists() and not out.is_dir():
            raise UsageError(
                f"{shown(out)} is a file, not a folder", "choose another output folder"
            )
        out.mkdir(parents=True, exist_ok=True)


def _check_outputs(
    job: _Job, numbers: Sequence[int], done: Mapping[int, Mapping[str, str]]
) -> None:
    """Raise UsageError for outputs that cannot be written, or are there and not this call's."""
    names = [n for k in numbers if k not in done for n in subject_files(k, job.doses).values()]
    known = _known(job)
    for name in (INDEX, *names):
        ours = (
            _index_grows(job, numbers)
            if name == INDEX
            else _hash(job.out / name) == known.get(name, "")
        )
        check_output(job.out / name, overwrite=job.overwrite or ours)


def _index(job: _Job) -> dict[str, Any]:
    """dataset.json, if it is there and tells of files from the same seed and grid; otherwise empty."""
    # Data sets of earlier versions name no scanner; it was the basic one.
    content = {"scanner": "basic"} | _json(job.out / INDEX)
    return content if all(content.get(key) == job.request[key] for key in job.request) else {}


def _index_grows(job: _Job, numbers: Sequence[int]) -> bool:
    """Whether the new dataset.json will hold all that the old one holds."""
    index = _index(job)
    try:
        return set(index["subjects"]) <= set(numbers) and set(index["doses"]) <= set(job.doses)
    except (KeyError, TypeError):
        return False


def _index_holds(job: _Job, numbers: Sequence[int]) -> bool:
    """Whether dataset.json is there and holds just these subjects and doses."""
    index = _index(job)
    return index.get("subjects") == list(numbers) and index.get("doses") == list(job.doses)


def _done(job: _Job, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
    """Number -> hashes of the files, of the subjects whose files are there and have those hashes."""
    known = _known(job)
    done = {}
    for number in numbers:
        files = {name: known.get(name, "") for name in subject_files(number, job.doses).values()}
        if all(value and _hash(job.out / name) == value for name, value in files.items()):
            done[number] = files
    return done


def _known(job: _Job) -> dict[str, str]:
    """File name -> hash, as dataset.json or an interrupted run tells of files from the same request."""
    records = [_index(job)]
    for path in sorted((job.out / RECORDS).glob("*.json")):
        record = _json(path)
        if record.get("request") == job.request:
            records.append(record)
    hashes = [record.get("sha256") for record in records]
    return {
        name: value for each in hashes if isinstance(each, dict) for name, value in each.items()
    }


def _put_index_away(job: _Job, numbers: Sequence[int]) -> None:
    """Remove dataset.json, which must not describe an incomplete data set; its hashes are kept."""
    known = _known(job)
    for number in numbers:
        names = subject_files(number, job.doses).values()
        if hashes := {name: known[name] for name in names if name in known}:
            _remember(job, number, hashes)
    with explained(job.out / INDEX):
        (job.out / INDEX).unlink(missing_ok=True)


def _remember(job: _Job, number: int, hashes: Mapping[str, str]) -> None:
    folder = job.out / RECORDS
    with explained(job.out):
        folder.mkdir(exist_ok=True)
    record = {"request": job.request, "sha256": dict(hashes)}
    atomic_write_json(folder / f"sub-{number:04d}.json", record, overwrite=True)


def _hash(path: Path) -> str | None:
    """SHA-256 of a file's content; None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for block in iter(partial(file.read, 1 << 20), b""):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def _json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if it is absent or something else."""
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _description(job: _Job, numbers: Sequence[int], hashes: Mapping[str, str]) -> dict[str, Any]:
    """The content of dataset.json. ``sha256``: file name -> hash of its content."""
    tracers = "FDG" if job.scanner == "basic" else "FDG, amyloid and FDOPA"
    content = {
        "description": f"{tracers} brain PET: {NOTICE}",
        "units": UNIT,
        **job.request,
        "subjects": list(numbers),
        "doses": list(job.doses),
        "labels": LABELS,
        "files": {f"sub-{n:04d}": subject_files(n, job.doses) for n in numbers},
        "sha256": dict(sorted(hashes.items())),
    }
    if job.scanner == "varied":
        content["drawn"] = {f"sub-{n:04d}": drawn_parameters(job.seed, n) for n in numbers}
    return content
