"""A reconstruction as pages and pictures show it: volumes on one grid, in one unit, with axes to RAS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.errors import InputError
from petrt.imaging.affine import check_affine

Kind = Literal["image", "difference", "uncertainty"]

VOLUMES = ("input", "output", "coarse", "std", "reference", "labels")
# The tops of fixed display windows: equal kinds of scan get equal windows, so that pages compare.
STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
DISPLAY_PERCENTILE = 99.9
# Windows of the other kinds, as shares of the images' top, so that they can be compared, too.
DIFFERENCE, UNCERTAINTY = 0.2, 0.1


@dataclass(frozen=True)
class Case:
    """Volumes [X, Y, Z] float32 of one frame and its grid; ``affine`` [4, 4] in mm.

    ``std``: standard deviation of ``output``, calibrated if the ``record`` says so. ``labels``: regions, 0 is
    outside. ``record``: that of the run (petrt.inference.run_record), empty where none is known. ``unit``: of
    the values, "" if unknown. ``base``: what ``input`` is, the volume that the output is compared with; the
    reference itself where there is no input. ``frame``: "frame 2 of 5" of a series. Raises InputError for
    volumes that do not match or are not finite.
    """

    input: Array
    output: Array
    affine: NDArray[np.float64]
    unit: str = ""
    coarse: Array | None = None
    std: Array | None = None
    reference: Array | None = None
    labels: NDArray[Any] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    frame: str = ""
    base: str = "input"

    def __post_init__(self) -> None:
        for name, volume in self.volumes.items():
            if volume.ndim != 3 or 0 in volume.shape or volume.shape != self.output.shape:
                raise InputError(
                    f"a report needs volumes [X, Y, Z] of one shape: {name} has {volume.shape}, "
                    f"the output {self.output.shape}",
                    "choose one frame, and volumes on one grid",
                )
            if not np.isfinite(volume).all():
                raise InputError(f"a report needs finite volumes: {name} holds NaN or infinity")

    @property
    def volumes(self) -> dict[str, NDArray[Any]]:
        """The volumes that there are, by name."""
        each = {name: getattr(self, name) for name in VOLUMES}
        return {name: volume for name, volume in each.items() if volume is not None}

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """The sizes of a voxel along the axes of the volumes, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def calibrated(self) -> bool:
        """Whether ``std`` is fitted to the errors, so that intervals can be formed of it."""
        return bool(self.record.get("std", {}).get("calibrated"))

    def in_ras(self) -> Case:
        """The same with x to the right, y to the front and z up."""
        affine = check_affine(self.affine, "report")
        orientation = io_orientation(affine)
        turned: dict[str, Any] = {
            name: np.ascontiguousarray(apply_orientation(volume, orientation))
            for name, volume in self.volumes.items()
        }
        return replace(self, affine=affine @ inv_ornt_aff(orientation, self.output.shape), **turned)


def window_top(*volumes: Array) -> float:
    """The top of the display window: the next of 1, 1.5, 2, 3, 5, 7 or 10 times a power of ten above the
    99.9th percentile of the brightest volume. 1 for volumes without activity."""
    return next_step(max(float(np.percentile(volume, DISPLAY_PERCENTILE)) for volume in volumes))


def next_step(value: float) -> float:
    """The next of the fixed steps at or above ``value``; 1 if that is not positive."""
    if not value > 0:
        return 1.0
    steps = fixed_steps(math.floor(math.log10(value)))
    return next(step for step in steps if step >= value * (1 - 1e-6))


def fixed_steps(power: int) -> list[float]:
    """The fixed steps from 10^power to ten times that, each the float nearest to its decimal."""
    return [float(f"{step:g}e{power}") for step in STEPS]


def limits(kind: Kind, top: float) -> tuple[float, float]:
    """The window of a ``kind`` of volume where images have 0 to ``top``."""
    if kind == "difference":
        return -DIFFERENCE * top, DIFFERENCE * top
    return 0.0, UNCERTAINTY * top if kind == "uncertainty" else top


def activity_centre(volume: Array) -> tuple[int, int, int]:
    """The voxel at the centre of the positive activity, or the middle of an empty volume."""
    weight = np.maximum(volume, 0.0, dtype=np.float64)
    total = float(weight.sum())
    if total == 0:
        return volume.shape[0] // 2, volume.shape[1] // 2, volume.shape[2] // 2
    x, y, z = (
        round(float(weight.sum(axis=others) @ np.arange(weight.shape[axis])) / total)
        for axis, others in enumerate(((1, 2), (0, 2), (0, 1)))
    )
    return x, y, z
