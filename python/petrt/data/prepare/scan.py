"""A scan, a subject as its source holds it, and the voxels read of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# The dose reduction of a full-dose scan.
FULL = 1


# A name that says no more than a number may be shown and kept.
_NEUTRAL = re.compile(r"(sub|subject|anonymous|anon|case)[-_ ]?\d{1,4}", re.IGNORECASE)


@dataclass(frozen=True)
class Scan:
    """One volume: a NIfTI file, or a folder with one DICOM series. ``dose``: the reduction, 1 = full."""

    path: Path
    dose: int


@dataclass(frozen=True)
class FoundScan:
    """One subject as a source holds it.

    ``name`` at its origin (shown only if neutral) and ``patient``: equal keys mean one person.
    ``ident``: the id it keeps; None for the next free one. ``split``: where the source says so.
    ``problems``: scans that cannot be used, one reason each.
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

    @property
    def neutral_name(self) -> str | None:
        """``name``, if it says nothing about a person."""
        return self.name if _NEUTRAL.fullmatch(self.name) else None


@dataclass(frozen=True)
class LoadedScan:
    """A scan's voxels [X, Y, Z], their affine to RAS millimetres, and what the file says of unit, patient
    and frame of reference, if anything."""

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
