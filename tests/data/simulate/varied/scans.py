"""A subject's parameters without any error, and a cylinder to scan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.data.simulate.projector import make_projector
from petrt.data.simulate.varied import Drawn
from petrt.data.simulate.varied.physics import SOFT_PER_MM, Measured, measure
from petrt.data.simulate.varied.reconstruction import smooth

PLAIN = Drawn(
    tracer="fdg",
    positive=False,
    head_scale=1.0,
    mbq_per_kg=3.7,
    minutes=10.0,
    sensitivity_cps_per_kbq=30.0,
    tof_ps=0,
    fwhm_mm=8.0,
    pixel_mm=4.0,
    slice_mm=4.0,
    axial_fov_mm=32.0,
    scatter_fraction=0.35,
    scatter_error=0.0,
    randoms_fraction=0.3,
    bone=True,
    attenuation_error=0.0,
    misalignment_mm=(0.0, 0.0, 0.0),
    iterations=4,
    subsets=24,
    psf_fwhm_mm=0.0,
    post_fwhm_mm=0.0,
)
"""8 slices of 64 x 64 voxels of 4 mm; the scanner blurs by two voxels."""


def plain(**changes: Any) -> Drawn:
    """``PLAIN`` but for ``changes``."""
    return replace(PLAIN, **changes)


def inside(drawn: Drawn, radius_mm: float = 80.0) -> NDArray[np.bool_]:
    """A cylinder [X,Y,Z] along z."""
    nx, _, nz = drawn.shape
    axis = (np.arange(nx) - (nx - 1) / 2) * drawn.pixel_mm
    disc = np.hypot(axis[:, None], axis[None, :]) < radius_mm
    return np.repeat(disc[:, :, None], nz, axis=2)


def scan(
    drawn: Drawn, used: float = 1.0, level: float = 10e3
) -> tuple[Measured, NDArray[np.float32]]:
    """A scan of a cylinder of ``level`` Bq/ml in soft tissue, and its blurred activity.

    The reconstruction takes the attenuation for ``used`` times what it is.
    """
    cylinder = inside(drawn).astype(np.float32)
    blurred = smooth(level * cylinder, drawn.fwhm_mm, drawn.voxel_mm)
    attenuation = SOFT_PER_MM * cylinder
    projector = make_projector(*drawn.shape[:2], drawn.subsets)
    return measure(blurred, attenuation, used * attenuation, projector, drawn), blurred
