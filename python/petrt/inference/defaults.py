"""The defaults of a run, each in one place: petrt.Reconstructor and petrt.reconstruct take them from here.
The commands have the same. An option that is not here has None, or is off."""

from __future__ import annotations

from petrt.io.volume import MAX_VOXELS as MAX_VOXELS
from petrt.io.volume import Nonfinite

MODEL = "demo"
STRENGTH = 1.0
SEED = 0
ENGINE = "auto"
DEVICE = "auto"
SKIP_BACKGROUND = True
NONFINITE: Nonfinite = "refuse"
LEVEL = 0.9  # of the intervals of regions
