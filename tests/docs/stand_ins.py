"""Small stand-ins for what the commands of the pages read: volumes, series, data sets, models."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pydicom

from tests.data.prepare.scans import challenge, save, scan
from tests.helpers import write_nifti
from tests.io.bids.data_set import make
from tests.suv.series_files import write

SUBJECTS = 10


def _volume(path: Path, _: Path) -> None:
    data = np.random.default_rng(0).gamma(2, 300, (16, 16, 4)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, data)


def _regions(path: Path, _: Path) -> None:
    labels = np.zeros((16, 16, 4), np.int16)
    labels[2:7, 2:7], labels[9:14, 9:14] = 1, 2
    labels[2:7, 9:14], labels[9:14, 2:7] = 3, 4
    write_nifti(path, labels)


def _series(path: Path, _: Path) -> None:
    write(path, shape=(16, 16, 4))


def _archive(path: Path, _: Path) -> None:
    write(path.parent / "packed", shape=(16, 16, 4))
    shutil.make_archive(str(path.with_suffix("")), "zip", path.parent / "packed")
    shutil.rmtree(path.parent / "packed")


def _scans(path: Path, model: Path) -> None:
    """Of a cohort the volumes in the folder, of a training the folders of a challenge."""
    _volume(path / "a.nii.gz", model)


def _pairs(path: Path, _: Path) -> None:
    rows = ["subject,low,full,dose,patient"]
    for k in range(SUBJECTS):
        save(path.parent / f"pairs/full{k}.nii.gz", scan(k))
        save(path.parent / f"pairs/low{k}.nii.gz", scan(k, 100))
        rows.append(f"a{k},pairs/low{k}.nii.gz,pairs/full{k}.nii.gz,100,p{k}")
    path.write_text("\n".join(rows))


def _info(path: Path, _: Path) -> None:
    path.write_text(
        "NiftiFileName,PatientWeight_kg,RadionuclideTotalDose_Bq\nAnonymous-06_DRF-20.nii.gz,70,2e8\nAnonymous-06.nii.gz,70,2e8\n"
    )


def _model(path: Path, model: Path) -> None:
    shutil.copytree(model, path)


WRITERS: dict[str, Callable[[Path, Path], object]] = {
    **dict.fromkeys(("low.nii.gz", "LOW.nii.gz", "full.nii.gz", "c.nii"), _volume),
    **dict.fromkeys(("series/", "SERIES/", "STUDY/", "RESULT/", "FULL/", "A/", "B/"), _series),
    "STUDY.zip": _archive,
    **dict.fromkeys(("scans/", "full/"), _scans),
    "test/": lambda path, model: _volume(path / "Anonymous-06_DRF-20.nii.gz", model),
    "full/Anonymous-06.nii.gz": _volume,
    **dict.fromkeys(("dseg.nii.gz", "organs.nii.gz"), _regions),
    "study": lambda path, _: make(path),
    "pairs.csv": _pairs,
    "info.csv": _info,
    "model/": _model,
    "model": _model,
}


def place(folder: Path, words: Iterable[str], model: Path) -> None:
    """Write into ``folder`` what is named by one of the ``words``; ``model`` is a bundle to copy."""
    named = {word.partition("/**")[0] for word in words}
    for name in sorted(named & {*WRITERS}):
        WRITERS[name](folder / name, model)


def for_training(folder: Path) -> None:
    """The ``scans`` of a training: a challenge folder."""
    challenge(folder / "scans", SUBJECTS)


def uid_of(archive: Path) -> str:
    """The SeriesInstanceUID of the series in ``archive``."""
    with_files = archive.with_name("unpacked")
    shutil.unpack_archive(archive, with_files)
    first = next(path for path in sorted(with_files.rglob("*")) if path.is_file())
    uid = str(pydicom.dcmread(first).SeriesInstanceUID)
    shutil.rmtree(with_files)
    return uid
