"""The volumes that petrt evaluate compares: read, turned to one orientation, in one unit, on one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from petrt import suv as uptake
from petrt.data.prepare.metadata import Metadata, stem
from petrt.errors import InputError, way
from petrt.files.names import shown
from petrt.io import source

# Largest distance in voxels between the corners of two equal grids, since headers round.
GRID_TOLERANCE = 0.01


@dataclass(frozen=True)
class Turned:
    """A file's frames [T, X, Y, Z], axes permuted and flipped to x right, y front, z up; affine in mm."""

    name: str
    frames: NDArray[np.float32]
    affine: NDArray[np.float64]
    units: str = ""

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def grid(self) -> str:
        sizes = "x".join(f"{mm:.4g}" for mm in self.voxel_mm)
        origin = ", ".join(f"{mm:.4g}" for mm in self.affine[:3, 3])
        shape = "x".join(str(n) for n in self.frames.shape[1:])
        return f"{shape} voxels of {sizes} mm from ({origin}), frames: {len(self.frames)}"


@dataclass(frozen=True)
class Reading:
    """What is let in, and the series that are meant where a DICOM input has several."""

    series: list[str] | None
    force_units: bool
    nonfinite: Any
    max_voxels: int


def read(path: Path, let_in: Reading, suv: uptake.Kind | None) -> Turned:
    """Read a volume in canonical orientation, so files that differ only in storage order agree.

    Raises InputError for one whose SUV, of kind ``suv``, cannot be formed.
    """
    volume = source.read(
        path,
        series=source.among_several(path, let_in.series),
        force_units=let_in.force_units,
        max_voxels=let_in.max_voxels,
        nonfinite=let_in.nonfinite,
    )
    unit = uptake.stored_unit(volume)
    if suv is not None and volume.series is None:
        raise InputError(
            f"{shown(path)}: no SUV: not DICOM, so weight and dose are unknown",
            "give DICOM series, or leave out --suv",
        )
    if suv is not None:
        unit = uptake.unit_name(suv)
        volume = uptake.volume(volume, suv, force_units=let_in.force_units)
    orientation = io_orientation(volume.affine_mm)
    shape = volume.data.shape[:3]
    data = apply_orientation(volume.data.reshape(*shape, -1), orientation)
    return Turned(
        shown(path),
        np.moveaxis(np.asarray(data), 3, 0),
        volume.affine_mm @ inv_ornt_aff(orientation, shape),
        unit,
    )


def in_suv(
    volumes: dict[str, Turned], rows: dict[str, Metadata], prediction: Path
) -> dict[str, Turned]:
    """Prediction and reference in SUV (body weight). Raises InputError without a row of the prediction."""
    if (row := rows.get(stem(prediction.name))) is None:
        raise InputError(
            f"the table has no row of {shown(prediction)}",
            "predictions have the names of the challenge's inputs",
        )
    return {
        role: replace(
            volumes[role],
            frames=volumes[role].frames * np.float32(row.suv_factor),
            units=uptake.unit_name("bw"),
        )
        for role in ("prediction", "reference")
    }


def common_unit(prediction: Turned, reference: Turned) -> str:
    """The unit of both; "" if neither states one. Raises InputError for two different units."""
    if prediction.units and reference.units and prediction.units != reference.units:
        raise InputError(
            f"{prediction.name} is in {prediction.units}, {reference.name} in {reference.units}",
            way("suv", "bw", "compares DICOM series in SUV"),
        )
    return prediction.units or reference.units


def check_same_grid(volume: Turned, reference: Turned, *, may_be_static: bool) -> None:
    """Raise InputError unless both have the same grid and the same number of frames."""
    frames = {len(reference.frames), 1} if may_be_static else {len(reference.frames)}
    same = volume.frames.shape[1:] == reference.frames.shape[1:] and len(volume.frames) in frames
    if same:
        last = np.array(reference.frames.shape[1:]) - 1
        corners = np.array([(x, y, z, 1) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
        corners[:, :3] *= last
        apart = np.abs(corners @ (volume.affine - reference.affine).T).max()
        same = apart <= GRID_TOLERANCE * min(reference.voxel_mm)
    if not same:
        raise InputError(
            f"the grids differ: {volume.name} has {volume.grid}; "
            f"{reference.name} has {reference.grid}",
            "resample one onto the other",
        )
