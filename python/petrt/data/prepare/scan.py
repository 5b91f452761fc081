"""A scan, a subject found in a source, and a loaded scan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petrt.data.prepare.metadata import Metadata
from petrt.io.volume import MAX_VOXELS, Nonfinite

# The dose reduction of a full-dose scan.
FULL = 1


# A name that is only a number with a neutral prefix may be shown and stored.
_NEUTRAL = re.compile(r"(sub|subject|anonymous|anon|case)[-_ ]?\d{1,4}", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """What is let through in the files that are read.

    ``force_units``: DICOM series that are not quantitative, unchanged. ``nonfinite``: "zero" replaces
    NaN and infinity. ``max_voxels``: the largest volume. ``any_frame``: pairs whose DICOM frames of
    reference differ, as after an anonymiser that draws them anew for each series. ``series``: UIDs of the
    series to take where a folder has several PET series.
    """

    force_units: bool = False
    nonfinite: Nonfinite = "refuse"
    max_voxels: int = MAX_VOXELS
    any_frame: bool = False
    series: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scan:
    """One volume: a NIfTI file, or a folder with one DICOM PET series. ``dose``: the reduction, 1 = full.
    ``metadata``: what a table beside it says of it."""

    path: Path
    dose: int
    metadata: Metadata | None = None


@dataclass(frozen=True)
class FoundScan:
    """One subject found in a source.

    ``name``: its name there, shown only if neutral. ``patient``: equal keys mean one person. ``ident``:
    its id; None for the next free one. ``split``: the source's split, if it states one. ``problems``:
    one reason for each scan that cannot be used. ``hashes``: file name -> SHA-256 of its content, where
    the source states it.
    """

    kind: str
    name: str
    patient: str
    scans: tuple[Scan, ...]
    ident: str | None = None
    split: str | None = None
    labels: Path | None = None
    truth: Path | None = None
    problems: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def neutral_name(self) -> str | None:
        """``name``, if it cannot identify a person."""
        return self.name if _NEUTRAL.fullmatch(self.name) else None


@dataclass(frozen=True)
class LoadedScan:
    """A scan's voxels [X, Y, Z], their affine to RAS millimetres, and the file's unit, patient key and
    frame of reference, if known."""

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    unit: str | None = None
    patient: str | None = None
    frame: str | None = None

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Voxel size along the data's axes."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)
