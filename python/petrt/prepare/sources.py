"""What a source holds before anything large is read: subjects and their scans at each dose.

Each layout has a module that finds them; paths and names at the origin stay in memory, because
people name folders after patients.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from petrt.errors import InputError, UsageError
from petrt.io.names import shown

Layout = Literal["auto", "challenge", "bids", "csv", "simulated"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
FULL = 1
"""The dose reduction of a full-dose scan."""

# A name that says no more than a number may be shown and kept.
_NEUTRAL = re.compile(r"(sub|subject|anonymous|anon|case)[-_ ]?\d{1,4}", re.IGNORECASE)


@dataclass(frozen=True)
class Scan:
    """One volume: a NIfTI file, or a folder with one DICOM series. ``dose``: the reduction, 1 = full."""

    path: Path
    dose: int


@dataclass(frozen=True)
class Found:
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
class Loaded:
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


def find(sources: Sequence[Path], layout: Layout = "auto") -> dict[str, Found]:
    """The subjects of ``sources`` by their neutral id, in the sorted order of their places.

    Raises InputError where there is none or the source contradicts itself.
    """
    subjects: dict[str, Found] = {}
    unnamed: list[Found] = []
    for source in sources:
        for found in _find_one(source, layout):
            if found.ident is None:
                unnamed.append(found)
            elif subjects.setdefault(found.ident, found) is not found:
                raise InputError(
                    f"{found.ident} is in two sources", "simulate them with different numbers"
                )
    number = 0
    for found in unnamed:
        while (ident := f"sub-{number:04d}") in subjects:
            number += 1
        subjects[ident] = found
    if not subjects:
        raise InputError(
            "no subjects found",
            "a subject is a folder with one folder or file a dose; see petrt prepare --help",
        )
    return subjects


def detect(source: Path) -> Layout:
    """The layout of ``source``, which exists."""
    from petrt.prepare import bids, simulated

    if source.is_file():
        if source.suffix.lower() == ".csv":
            return "csv"
        raise InputError(f"{shown(source)}: neither a folder nor a .csv file of pairs")
    if simulated.is_simulated(source):
        return "simulated"
    return "bids" if bids.is_bids(source) else "challenge"


def load(path: Path, salt: bytes = b"") -> Loaded:
    """Read and check one static volume; raises InputError, which may name the file or folder.

    ``salt``: of the patient key (petrt.io.dicom.series.inspect).
    """
    from petrt.io import nifti

    if path.is_dir():
        from petrt.prepare.dicom import load_series

        loaded = load_series(path, salt)
    else:
        from petrt.prepare.bids import sidecar_unit

        volume = nifti.read(path)
        loaded = Loaded(volume.data, volume.affine_mm, unit=sidecar_unit(path))
    if loaded.data.ndim != 3:
        shape = "x".join(str(n) for n in loaded.data.shape)
        raise InputError(f"{shown(path)}: {shape}, a series of frames", "give one static frame")
    return loaded


def _find_one(source: Path, layout: Layout) -> list[Found]:
    from petrt.prepare import bids, challenge, simulated, table

    if not source.exists():
        raise InputError(f"{shown(source)}: no such file or folder")
    if layout not in LAYOUTS:
        raise UsageError(f"layout '{layout}'", f"choose one of {', '.join(LAYOUTS)}")
    kind = detect(source) if layout == "auto" else layout
    if kind != "csv" and not source.is_dir():
        raise InputError(f"{shown(source)}: not a folder", f"the layout {kind} is a folder")
    find_in = {
        "challenge": challenge.find,
        "bids": bids.find,
        "csv": table.find,
        "simulated": simulated.find,
    }
    return find_in[kind](source)
