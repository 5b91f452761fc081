"""The content of a prepared data set's dataset.json, and its checked reading."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from petrt.errors import InputError
from petrt.files.faults import first_fault
from petrt.files.json_text import parsed
from petrt.files.names import shown
from petrt.imaging.grid import Placement, Size3
from petrt.model.spec import ScaleRule, Spec

INDEX = "dataset.json"
VOLUMES = "volumes"
VERSION = 1
SPLITS = ("train", "validation", "test")
AGAIN = "write it again with petrt prepare"

Matrix = tuple[tuple[float, float, float, float], ...]


class ArrayFile(Spec):
    """One .npy file in the folder ``volumes``, with the hash of its content."""

    file: str
    sha256: str

    @field_validator("file")
    @classmethod
    def _inside(cls, name: str) -> str:
        if not re.fullmatch(rf"{VOLUMES}/[A-Za-z0-9][\w.-]*\.npy", name):
            raise ValueError(f"not a file name in {VOLUMES}/")
        return name


class VolumeFile(ArrayFile):
    """A volume's file. Stored value x ``unit`` = value in the input's own unit, Bq/ml."""

    unit: float = Field(gt=0)


class LowFile(VolumeFile):
    """A low-dose volume's file. ``scale`` (petrt.imaging.scaling.scale_of) divides both doses."""

    scale: float = Field(gt=0)


class Crop(Spec):
    """The crop of the source volume: the first voxel kept and the uncropped shape, in its own axes."""

    start: tuple[int, int, int]
    source_shape: tuple[int, int, int]


class SubjectEntry(Spec):
    """One subject's volumes, all [Z, H, W] of ``shape``.

    ``placement`` converts the (cropped) input to that grid and back. ``affine`` maps the (cropped)
    input's voxels to RAS millimetres. Scans of one person have the same ``patient``. ``source`` is the
    subject's name in the source, if that name is neutral. ``weights`` [Z]: sampling weight of each slice.
    ``suv_factor``: SUV (body weight) of 1 Bq/ml, where a table stated weight and activity.
    """

    kind: str
    patient: str
    source: str | None = None
    shape: tuple[int, int, int]
    placement: Placement
    affine: Matrix
    crop: Crop | None = None
    full: VolumeFile
    low: dict[int, LowFile] = Field(min_length=1)
    labels: ArrayFile | None = None
    truth: VolumeFile | None = None
    weights: tuple[float, ...]
    suv_factor: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> SubjectEntry:
        if self.placement.network_shape != self.shape:
            raise ValueError(f"placement gives {self.placement.network_shape}, not {self.shape}")
        if min(self.low) < 2:
            raise ValueError(f"dose reductions start at 2, got {min(self.low)}")
        if len(self.weights) != self.shape[0] or min(self.weights) < 0 or not sum(self.weights):
            raise ValueError("weights must be one per slice, none negative, not all zero")
        return self

    def arrays(self) -> dict[str, ArrayFile]:
        """Key -> file: full, 1to100, ..., and labels and truth if they exist."""
        files: dict[str, ArrayFile] = {"full": self.full}
        files |= {f"1to{dose}": entry for dose, entry in self.low.items()}
        optional = {"labels": self.labels, "truth": self.truth}
        return files | {key: entry for key, entry in optional.items() if entry is not None}


class DatasetIndex(Spec):
    """The content of dataset.json."""

    format: Literal["petrt-dataset"] = "petrt-dataset"
    version: Literal[1] = 1
    label: str = "not for diagnostic use"
    dtype: Literal["float16", "float32"]
    scale_rule: ScaleRule
    voxel_mm: Size3
    subjects: dict[str, SubjectEntry] = Field(min_length=1)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_index(folder: Path) -> DatasetIndex:
    """The index in ``folder``. Raises InputError if it is missing, of another kind or version, or invalid."""
    path = folder / INDEX
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{shown(folder)}: no data set here, {INDEX} cannot be read ({error.strerror})",
            "petrt prepare writes one",
        ) from error
    except ValueError as error:
        raise InputError(f"{shown(folder)}: {INDEX} is not JSON", AGAIN) from error
    if not isinstance(content, dict) or content.get("format") != "petrt-dataset":
        raise InputError(
            f"{shown(folder)}: {INDEX} describes no prepared data set",
            "if petrt simulate wrote it, run petrt prepare on it",
        )
    if content.get("version") != VERSION:
        raise InputError(
            f"{shown(folder)}: version {content.get('version')} of the data set, this petrt reads "
            f"{VERSION}",
            AGAIN,
        )
    try:
        return DatasetIndex.model_validate(content)
    except ValidationError as error:
        fault = first_fault(error, DatasetIndex)
        raise InputError(f"{shown(folder)}: {INDEX}: {fault}", AGAIN) from error
