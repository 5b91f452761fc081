"""A scan, a subject found in a source, and a loaded scan."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# The dose reduction of a full-dose scan.
FULL = 1


# A name that is only a number with a neutral prefix may be shown and stored.
_NEUTRAL = re.compile(r"(sub|subject|anonymous|anon|case)[-_ ]?\d{1,4}", re.IGNORECASE)


@dataclass(frozen=True)
class Scan:
    """One volume: a NIfTI file, or a folder with one DICOM series. ``dose``: the reduction, 1 = full."""

    path: Path
    dose: int


@dataclass(frozen=True)
class FoundScan:
    """One subject found in a source.

    ``name``: its name there, shown only if neutral. ``patient``: equal keys mean one person. ``ident``:
    its id; None for the next free one. ``split``: the source's split, if it states one. ``problems``:
    one reason for each scan that cannot be used.
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
