"""Small stand-ins for what the commands of the pages read: volumes, series, data sets, models."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom

from petrt.cli.app import run
from petrt.data.simulate.iq_phantom import scan as simulate_phantom
from petrt.evaluation.nema import phantom
from petrt.model.spec import DomainSpec
from petrt.train.config import TrainConfig, load_config
from tests.data.prepare.scans import AFFINE, challenge, save, scan
from tests.export.conftest import NETWORKS, scrambled
from tests.helpers import write_nifti
from tests.io.bids.data_set import make
from tests.io.dicom.dicom_files import write_series
from tests.models import with_voxels
from tests.nets.official_files import SMALL, write_official
from tests.suv.series_files import write
from tests.train.prepared import config
from tests.train.prepared import write as write_prepared
from tests.train.runs import as_toml

SUBJECTS = 10
PHANTOM_MM = 6.0  # a voxel of the NEMA phantom


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


def _training(path: Path, _: Path) -> None:
    """The scans of a training: a challenge folder, in the voxels that they are prepared with."""
    challenge(path, SUBJECTS, affine=AFFINE @ np.diag([0.5, 0.5, 0.5, 1]))


def _explorer(path: Path, _: Path) -> None:
    """Subjects as the challenge lays out those of the other scanner."""
    for k in range(2):
        place = path.parent / "uExplorerPART1" / f"Anonymous_{k}"
        for name, dose in (("NORMAL", 1), ("D20", 20), ("D100", 100)):
            save(place / f"2.886 x 600 WB {name}" / "a.nii", scan(k, dose))


def _configuration(path: Path, _: Path) -> None:
    """Of a model for the voxels that the page prepares."""
    domain = DomainSpec(voxel_mm=(1.65, 1.65, 1.65), dose_fraction=0.01)
    small = small_training()
    model = small.model.model_copy(update={"domain": domain})
    path.write_text(as_toml(small.model_copy(update={"model": model})))


def _official(path: Path, _: Path) -> None:
    write_official(scrambled(SMALL), path)


def _prepared(path: Path, _: Path) -> None:
    path.mkdir()
    write_prepared(path, 3, noise=0.5)
    for split, name in (("train", 0), ("validation", 1), ("test", 2)):
        (path / f"{split}.txt").write_text(f"sub-000{name}\n")


def _phantom(path: Path, _: Path) -> None:
    made = simulate_phantom(phantom("body"), (20,), seed=0, voxel_mm=PHANTOM_MM)
    write_series(path, made.low[20] if "low" in path.name else made.full, made.affine)


def _demo_output(path: Path, model: Path) -> None:
    """What ``petrt demo`` leaves, as far as a report reads it."""
    for name in ("low", "full"):
        _volume(path / f"{name}.nii.gz", model)
    files = {"--std": "std.nii.gz", "--json": "demo.json"}
    written = [word for option, name in files.items() for word in (option, str(path / name))]
    command = ["reconstruct", str(path / "low.nii.gz"), str(path / "output.nii.gz"), *written]
    assert run([*command, "--model", str(model), "--samples", "2", "--allow-activity-change"]) == 0


def _demo(path: Path, model: Path) -> None:
    """A model that hides the shipped one of its name, with voxels so large that a phantom is small."""
    with_voxels(model, PHANTOM_MM, path)


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
    **dict.fromkeys(("model/", "model", "MODEL"), _model),
    "FOLDER": _prepared,
    "Subject_*/": lambda path, _: challenge(path.parent, SUBJECTS),
    "uExplorerPART*/": _explorer,
    "model.toml": _configuration,
    "path/to/prefix": _official,
    **dict.fromkeys(("low_dicom/", "full_dicom/"), _phantom),
    "demo_output": _demo_output,
    "demo": _demo,
}
# What is another thing on one page, and what its commands read without a word.
ON_PAGE = {"training.md": {"scans/": _training}}
UNNAMED = {"phantom.md": {"demo"}}
# Options that name what a command writes.
OUTPUTS = {"--out", "-o", "--export"}


def place(folder: Path, page: str, commands: Iterable[Sequence[str]], model: Path) -> None:
    """Write into ``folder`` what the ``commands`` of ``page`` read; ``model`` is a bundle to copy.

    A word after an option of ``OUTPUTS`` is not placed: the page makes it.
    """
    writers = WRITERS | ON_PAGE.get(page, {})
    words, made = {*UNNAMED.get(page, ())}, set()
    for command in commands:
        words |= {word.partition("/**")[0] for word in command[1:]}
        made |= {word for option, word in pairwise(command) if option in OUTPUTS}
    for name in sorted((words & {*writers}) - made):
        writers[name](folder / name, model)


def small_training(name: object = "default") -> TrainConfig:
    """The configuration of a TOML file as it stands; a preset for a few steps of small networks."""
    if str(name).endswith(".toml"):
        return load_config(str(name))
    network = NETWORKS["dose"]
    small = config(steps=2, coarse_steps=1, validation={"subjects": 1, "every": 8, "samples": 2})
    domain = small.model.domain.model_copy(update={"dose_fraction": 0.01})
    update = {"network": network, "domain": domain}
    return small.model_copy(update={"model": small.model.model_copy(update=update)})


def uid_of(archive: Path) -> str:
    """The SeriesInstanceUID of the series in ``archive``; any one if there is none."""
    if not archive.exists():
        return "1.2.3"
    with_files = archive.with_name("unpacked")
    shutil.unpack_archive(archive, with_files)
    first = next(path for path in sorted(with_files.rglob("*")) if path.is_file())
    uid = str(pydicom.dcmread(first).SeriesInstanceUID)
    shutil.rmtree(with_files)
    return uid
