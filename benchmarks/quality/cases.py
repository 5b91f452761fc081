"""What quality is measured on: simulated test subjects, and a real brain through the simulated scanner."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.data.simulate import scanner, simulate_subject
from petrt.data.simulate.dataset import subject_files
from petrt.errors import InputError
from petrt.evaluation.metrics import standard_mask
from petrt.imaging.scaling import scale_of
from petrt.model.spec import ScaleRule

Box = tuple[slice, slice, slice]

SEED = 2023
FIRST = 900  # 0-59 are for training and 500-507 for validation
MARGIN = 8  # voxels around the head: more than a filter or a U-Net needs to see air
TEMPLATE = "brain_fdg_template.nii.gz"
# Mean over simulated subjects of the level that their hottest 84 ml exceed, Bq/ml: the real brain, whose
# values are relative, is brought to it, so that it is measured with as many counts.
HOTTEST = 19.7e3


@dataclass(frozen=True)
class QualityCase:
    """One subject at one dose; volumes [X, Y, Z] in Bq/ml on one grid.

    ``truth``: the noise-free activity at the scanner's resolution. ``labels``: None for real anatomy.
    """

    subject: str
    dose: int
    low: Array
    full: Array
    truth: Array
    labels: NDArray[np.uint8] | None
    affine: NDArray[np.float64]

    @property
    def name(self) -> str:
        return case_name(self.subject, self.dose)

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        x, y, z = (float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z


@dataclass(frozen=True)
class View:
    """The part of a volume that is looked at: all of it, the head's box, every n-th slice."""

    head: bool = False
    every: int = 1

    @property
    def whole(self) -> bool:
        return not self.head and self.every == 1

    def __str__(self) -> str:
        part = "head's box" if self.head else "whole volume"
        return part if self.every == 1 else f"{part}, every {self.every}th slice"

    def box(self, case: QualityCase) -> Box:
        return head_box(case.full) if self.head else (slice(None),) * 3

    def cut(self, case: QualityCase) -> QualityCase:
        """``case`` with only what is looked at."""
        box = self.box(case)

        def part(volume: NDArray) -> NDArray:
            return np.ascontiguousarray(volume[box][:, :, :: self.every])

        labels = None if case.labels is None else part(case.labels)
        return replace(
            case, low=part(case.low), full=part(case.full), truth=part(case.truth), labels=labels
        )


# (subject's number, dose) -> the case
Source = Callable[[int, int], QualityCase]


def case_name(subject: str, dose: int) -> str:
    return f"{subject}_1to{dose}"


def head_box(full: Array, margin: int = MARGIN) -> Box:
    """The box around what is active at full dose, with a margin; in-plane sizes a multiple of 8."""
    inside = standard_mask(full)
    box = []
    for axis in range(3):
        line = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        size = full.shape[axis]
        first, last = max(int(line[0]) - margin, 0), min(int(line[-1]) + 1 + margin, size)
        if axis < 2:  # networks take multiples of 8, and padding with zeros is not air
            wanted = -(-(last - first) // 8) * 8
            last = min(first + wanted, size)
            first = max(last - wanted, 0)
        box.append(slice(first, last))
    return box[0], box[1], box[2]


def simulated(folder: Path | None) -> Source:
    """Subjects of ``folder``, as petrt simulate writes it, or simulated now where that is None."""

    def read(number: int, dose: int) -> QualityCase:
        name = f"sub-{number:04d}"
        if folder is None:
            person = simulate_subject(SEED, number, doses=(dose,))
            volumes = {"full": person.full, "truth": person.truth, "labels": person.labels}
            return QualityCase(name, dose, person.low[dose], affine=person.affine, **volumes)
        files = subject_files(number, (dose,))
        volumes = {}
        for key, file in files.items():
            if not (folder / file).is_file():
                raise InputError(f"the folder of subjects lacks {file}", "petrt simulate writes it")
            image = nibabel.load(folder / file)
            volumes[key] = np.asarray(image.dataobj, np.uint8 if key == "labels" else np.float32)
        low = volumes.pop(f"1to{dose}")
        return QualityCase(name, dose, low, affine=image.affine, **volumes)

    return read


def template_path() -> Path:
    """The real brain in $PETRT_DATA, else in ``shared/data`` beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("PETRT_DATA", beside)) / TEMPLATE


def real(path: Path) -> Source:
    """A real brain image taken as the activity, with counts like a simulated subject's.

    It is an image already, so the scanner's blur is left out. The number is that of the noise: each
    gives another realisation of the counts.
    """
    image = nibabel.load(path)
    activity = np.maximum(image.get_fdata(dtype=np.float32), 0)
    mm = float(image.header.get_zooms()[0])
    activity *= np.float32(HOTTEST / scale_of(activity, ScaleRule(), (mm, mm, mm)))
    mean, randoms = scanner.expected_counts(activity, mm)

    def scan(number: int, dose: int) -> QualityCase:
        streams = np.random.SeedSequence([SEED, number]).spawn(1 + dose)
        counts = scanner.draw_counts(np.random.default_rng(streams[0]), mean)
        thinned = scanner.thin_counts(np.random.default_rng(streams[dose]), counts, dose)
        shape = activity.shape
        return QualityCase(
            f"noise-{number}",
            dose,
            low=scanner.reconstruct(thinned, randoms, shape, mm, dose),
            full=scanner.reconstruct(counts, randoms, shape, mm),
            truth=scanner.post_filter(activity),
            labels=None,
            affine=image.affine,
        )

    return scan
