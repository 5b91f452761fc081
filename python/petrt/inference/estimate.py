"""How long a volume will take and how much memory, before its voxels are read."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from petrt.imaging.grid import plan

if TYPE_CHECKING:
    from petrt.inference.reconstructor import Reconstructor

# The first run opens buffers. Where it is shorter than this, in seconds, a second one is measured.
QUICK = 3.0


@dataclass(frozen=True)
class Estimate:
    """Of one volume. ``slices`` on the network grid, all frames. ``gib``: of the process on a CPU, else None.

    ``seconds`` is for slices that all hold activity; background is quicker.
    """

    slices: int
    seconds: float
    gib: float | None


class Estimator:
    """Measures one round of slices of the first plane size it meets; time grows with the area of a plane."""

    def __init__(self, reconstructor: Reconstructor) -> None:
        self._reconstructor = reconstructor
        self._per_pixel: float | None = None  # seconds

    def of(self, shape: tuple[int, ...], affine_mm: NDArray[np.float64], name: str) -> Estimate:
        """The estimate for a volume or series of ``shape``. Raises InputError for an unfit grid."""
        model = self._reconstructor.bundle.model
        placement = plan(
            shape[:3], affine_mm, model.domain.voxel_mm, multiple=2**model.network.scales, name=name
        )
        depth, height, width = placement.network_shape
        slices = depth * math.prod(shape[3:])
        if self._per_pixel is None:
            self._per_pixel = self._measured(height, width)
        seconds = self._per_pixel * height * width * slices
        given = math.prod(shape) * 4 * 4  # the volume, its three results
        needed = self._reconstructor.memory_for((depth, height, width))
        return Estimate(slices, seconds, None if needed is None else (needed + given) / 2**30)

    def _measured(self, height: int, width: int) -> float:
        """Seconds for one pixel of one slice, where all workers have a slice each."""
        reconstructor = self._reconstructor
        count = reconstructor.side_by_side
        rng = np.random.default_rng(0)
        volume = rng.random((count, height, width), np.float32)
        dose = reconstructor.bundle.model.domain.dose_fraction
        if reconstructor.bundle.model.network.dose and dose is None:
            dose = 1.0
        seconds = math.inf
        for _ in range(2):
            started = time.perf_counter()
            reconstructor.on_grid(volume, dose=dose)
            seconds = min(seconds, time.perf_counter() - started)
            if seconds > QUICK:
                break
        return seconds / (count * height * width)
