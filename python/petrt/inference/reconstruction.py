"""What a reconstruction gives: frames on their input grid, and all of them as the kind that came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from petrt.arrays import Array
from petrt.diffusion.strength import deviation
from petrt.errors import UsageError
from petrt.evaluation.activity import change
from petrt.evaluation.uncertainty.regions import Drawn, Region, Regions
from petrt.inference.regions import RegionsOfRun
from petrt.io.inputs import Loaded, give_back
from petrt.values import real


@dataclass(frozen=True)
class Reconstruction:
    """What a reconstruction gives, on the input's grid, in its units and as its kind.

    ``image``: the mean of the samples (AMS), below strength 1 between it and the input. ``std``: their
    standard deviation (ddof 1), None without two samples; where the model has a calibration for this
    sampler, number of samples and dose, calibrated, so that image +- z(level) * std covers the full-dose
    image (docs/uncertainty.md), else only the spread of the samples: ``stats["std"]`` says which and why.
    Below strength 1 it is that of petrt.diffusion.strength. ``coarse``: the coarse prediction
    x_cp. ``stats``: JSON-ready record of the run.
    """

    image: Any
    std: Any
    coarse: Any
    stats: dict[str, Any]
    measured: RegionsOfRun | None = None

    def regions(self, level: float = 0.9) -> list[Region]:
        """Mean, peak (of a 1 ml sphere) and maximum of each region and frame, in the image's unit, with the
        intervals that hold those of the full-dose image with probability ``level``.

        Raises UsageError where the Reconstructor was called without ``regions``, and for a bad level.
        """
        if self.measured is None:
            raise UsageError("no regions were given", "call the Reconstructor with regions=LABELS")
        level = real("level", level, 0.0, 1.0)
        if not 0 < level < 1:
            raise UsageError(f"level is {level:g}", "give a fraction between 0 and 1, as 0.9")
        return self.measured.table(level)


@dataclass(frozen=True)
class Frame:
    """One frame's results on its input grid and its part of the record; no ``std`` of a single sample.
    ``away``: the distance of ``image`` from the model's own, None where there is none. ``regions``: those
    of the frame, where they are wanted."""

    image: Array
    std: Array | None
    coarse: Array
    record: dict[str, Any]
    away: Array | None = None
    regions: Drawn | None = None


def unchanged(
    frame: Array, samples: int, negative_fraction: float, regions: Regions | None = None
) -> Frame:
    """A frame without activity is its own reconstruction. ``empty`` in its record: it is constant or nowhere
    above 0; else there is activity, but too little or too much below 0 for a scale."""
    image = np.array(frame, np.float32)
    std = np.zeros_like(image) if samples > 1 else None
    highest = float(image.max())
    record = {
        "scale": 0.0,
        **asdict(change(image, frame)),
        "negative_fraction": negative_fraction,
        "unchanged": True,
        "empty": highest <= 0 or highest == float(image.min()),
    }
    drawn = None if regions is None else Drawn(*(regions.measured(image),) * 2, None, 0.0)
    return Frame(image, std, image.copy(), record, regions=drawn)


def given_back(
    loaded: Loaded,
    frames: Sequence[Frame],
    stats: dict[str, Any],
    measured: RegionsOfRun | None = None,
) -> Reconstruction:
    """The frames as the kind of volume that came in, their standard deviation calibrated."""
    factor = np.float32(stats["std"]["factor"])
    stds = [deviation(frame.std * factor, frame.away) for frame in frames if frame.std is not None]
    return Reconstruction(
        image=give_back(loaded, [frame.image for frame in frames]),
        std=give_back(loaded, stds) if stds else None,
        coarse=give_back(loaded, [frame.coarse for frame in frames]),
        stats=stats,
        measured=measured,
    )
