"""What the scanner measures: attenuated trues, scatter and randoms, and what its corrections assume.

    y ~ Poisson(a c V A K x + s + r)

x is the activity (Bq/ml), K the resolution of the scanner, A the line integrals, V the volume of a voxel
(ml), c the effective counts per Bq at one angle, a the survival of the two photons of a line, s the scatter
and r the randoms (Cherry, Sorenson, Phelps: Physics in Nuclear Medicine, 4th ed., chapter 18).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from petrt.arrays import Array
from petrt.data.simulate.anatomy import Anatomy, load_template, sample
from petrt.data.simulate.projector import ANGLES, Projector
from petrt.data.simulate.varied.parameters import Drawn

SOFT_PER_MM, BONE_PER_MM = 0.0096, 0.0151
"""Linear attenuation at 511 keV of soft tissue and of compact bone (ICRU report 44), 1/mm."""
SKULL_MM = 8.0
"""Bone fills the template's gap between brain and scalp up to this distance from the cavity."""
SPINE_MM = ((0.0, -45.0, -134.0), (17.0, 17.0, 80.0))
"""Centre and radii of the template's spine."""
SCATTER_MM = (60.0, 40.0)
"""Standard deviation of the scatter around the trues, across the slice and along z."""
HEAD_MM = 200.0
"""Diameter of a head, for the gain of time of flight."""
LIGHT_MM_PER_PS = 0.299792458


@dataclass(frozen=True)
class Measured:
    """The mean of the full-dose counts, and what a reconstruction believes about them.

    mean        [angles*bins, Z], in the order of the projector's subsets
    survival    [angles*bins, Z] of the map for attenuation correction
    background  [angles*bins, Z], scatter as estimated, and randoms
    factor      counts at one angle from a voxel with 1 Bq/ml, without attenuation
    """

    mean: Array
    survival: Array
    background: Array
    factor: float


def bone_fraction(head: Anatomy) -> Array:
    """Fraction [X,Y,Z] of each voxel that is skull or spine."""
    return np.minimum(sample(_template_bone(), head.mni), 1 - head.soft)


@lru_cache(maxsize=1)
def _template_bone() -> Array:
    """The template's skull, which closes the gap between cavity and scalp, and its spine."""
    head = load_template()
    near = ndimage.distance_transform_edt(head.cavity < 0.5) * head.voxel_mm <= SKULL_MM
    axes = [
        f + head.voxel_mm * np.arange(n) for f, n in zip(head.first_mm, near.shape, strict=True)
    ]
    scaled = [
        ((axis - c) / r).reshape([-1 if a == i else 1 for a in range(3)]) ** 2
        for i, (axis, c, r) in enumerate(zip(axes, *SPINE_MM, strict=True))
    ]
    spine = scaled[0] + scaled[1] + scaled[2] < 1
    return (np.clip(1 - head.cavity - head.soft, 0, 1) * (near | spine)).astype(np.float32)


def attenuation_map(head: Anatomy, *, bone: bool = True) -> Array:
    """Linear attenuation [X,Y,Z] in 1/mm. Without ``bone`` it is taken for soft tissue, as by a Dixon MR."""
    skull = bone_fraction(head)
    tissue = np.clip(head.cavity + head.soft, 0, 1 - skull)
    out: Array = np.float32(SOFT_PER_MM) * tissue
    out += np.float32(BONE_PER_MM if bone else SOFT_PER_MM) * skull
    return out


def tof_gain(tof_ps: float) -> float:
    """Counts without time of flight that give the noise of one count with it; at least 1.

    D / (1.6 dx), dx = c dt / 2, for a uniform object of diameter D (Budinger, J Nucl Med 24:73, 1983;
    Conti, Eur J Nucl Med Mol Imaging 38:1147, 2011).
    """
    return max(1.0, HEAD_MM / (1.6 * LIGHT_MM_PER_PS * tof_ps / 2)) if tof_ps else 1.0


def count_factor(drawn: Drawn) -> float:
    """Full-dose counts at one angle from a voxel with 1 Bq/ml, without attenuation."""
    per_bq = drawn.sensitivity_cps_per_kbq / 1000 * 60 * drawn.minutes * tof_gain(drawn.tof_ps)
    return per_bq * drawn.pixel_mm**2 * drawn.slice_mm / 1000 / ANGLES


def slices(volume: Array, projector: Projector) -> Array:
    """``volume`` [X,Y,Z] as [pixels, Z]."""
    return volume.reshape(-1, volume.shape[2])[projector.pixels]


def survival(attenuation: Array, projector: Projector, pixel_mm: float) -> Array:
    """The part [angles*bins, Z] of the photon pairs of each line that nothing absorbs or deflects."""
    lines = projector.project(slices(attenuation, projector))
    lines *= np.float32(-pixel_mm)
    return np.exp(lines, out=lines)


def scatter(trues: Array, projector: Projector, drawn: Drawn) -> Array:
    """Mean scatter [angles*bins, Z]: the trues, spread by a broad kernel.

    Scatter of a head varies slowly, both inside it and beside it (Cherry, chapter 18).
    """
    across, along = SCATTER_MM
    spread = trues.reshape(ANGLES, projector.bins, -1)
    for axis, mm, size, mode in (
        (1, across, drawn.pixel_mm, "constant"),
        (2, along, drawn.slice_mm, "nearest"),
    ):
        for _ in range(3):  # three boxes are close to a Gaussian
            width = round(np.sqrt(4 * (mm / size) ** 2 + 1))
            spread = ndimage.uniform_filter1d(spread, width, axis=axis, mode=mode)
    part = drawn.scatter_fraction
    return spread.reshape(trues.shape) * np.float32(part / (1 - part))


def measure(
    blurred: Array, true_map: Array, used_map: Array, projector: Projector, drawn: Drawn
) -> Measured:
    """The scan of ``blurred``, the activity at the scanner's resolution in Bq/ml.

    All are [X,Y,Z] on the scanner's grid. ``true_map`` attenuates; the reconstruction is told ``used_map``.
    """
    factor = count_factor(drawn)
    trues = projector.project(slices(blurred, projector) * np.float32(factor))
    trues *= survival(true_map, projector, drawn.pixel_mm)
    scattered = scatter(trues, projector, drawn)
    randoms = drawn.randoms_fraction * trues.mean(axis=0, dtype=np.float64).astype(np.float32)
    used = survival(used_map, projector, drawn.pixel_mm)
    background = np.float32(1 + drawn.scatter_error) * scattered + randoms
    trues += scattered
    trues += randoms
    return Measured(trues, used, background, factor)
