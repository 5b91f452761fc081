"""The regions of a run: measured in the image and in every sample, one sample in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from petrt.arrays import Array
from petrt.evaluation.uncertainty.choice import dose_of, fitted_for, size_reason
from petrt.evaluation.uncertainty.regions import Drawn, Regions, RegionTable, regions_of, table
from petrt.imaging.grid import Placement
from petrt.io.inputs import Loaded
from petrt.io.labels import label_map
from petrt.model.spec import ModelSpec, SamplerSpec


def given_regions(labels: Any, loaded: Loaded, model: ModelSpec) -> Regions:
    """The regions of ``labels`` on the grid of a volume. Raises InputError, see ``label_map``."""
    found = label_map(labels, loaded.frames[0].shape, loaded.affine_mm)
    return regions_of(found.data, loaded.voxel_mm or model.domain.voxel_mm, found.names)


def drawn_regions(
    regions: Regions,
    image: Array,
    drawn: Array | None,
    placement: Placement,
    scale: float,
    threads: int,
) -> Drawn:
    """The statistics of one frame: ``image`` on the input's grid in its unit, ``drawn`` [samples, Z, H, W] on
    the network grid over ``scale``."""
    samples = None
    if drawn is not None:
        each = [
            scale * regions.measured(placement.from_network(np.asarray(sample), threads))
            for sample in drawn
        ]
        samples = np.stack(each)
    return Drawn(regions.measured(image), regions.blurred(image, threads), samples, scale)


@dataclass(frozen=True)
class RegionsOfRun:
    """The statistics of all frames of a run, and what their intervals follow from."""

    regions: Regions
    drawn: tuple[Drawn, ...]
    model: ModelSpec
    sampler: SamplerSpec | None
    samples: int
    dose: float | None

    def table(self, level: float) -> RegionTable:
        """Every region of every frame, with its intervals at ``level``."""
        fit, reason = fitted_for(self.model, self.sampler, self.samples, self.dose)
        why = ["" if fit else reason] * len(self.regions.labels)
        if fit is not None:
            why = [size_reason(self.model, float(ml)) for ml in self.regions.ml]
        dose = dose_of(self.model, self.dose)
        return RegionTable(table(self.regions, self.drawn, fit, why, dose, level), level)
