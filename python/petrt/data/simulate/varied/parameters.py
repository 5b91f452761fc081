"""What is drawn for a subject: tracer, patient, scanner, reconstruction (docs/simulation.md lists it)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from petrt.data.simulate.varied.tracers import TRACERS

RANGES: dict[str, tuple[float, float]] = {
    "head_scale": (0.9, 1.08),
    "fwhm_mm": (3.0, 6.5),
    "axial_fov_mm": (180.0, 250.0),
    "sensitivity_cps_per_kbq": (10.0, 60.0),
    "scatter_fraction": (0.25, 0.45),
    "scatter_error": (-0.1, 0.1),
    "randoms_fraction": (0.1, 0.5),
    "attenuation_error": (-0.02, 0.02),
    "misalignment_mm": (-2.0, 2.0),
    "psf_factor": (0.8, 1.1),
    "post_fwhm_mm": (0.0, 5.0),
}
"""Lowest and highest value of what is drawn uniformly (the sensitivity: log-uniformly)."""

PIXELS_MM = {1.0: 0.05, 1.25: 0.1, 1.5: 0.15, 2.0: 0.3, 2.5: 0.15, 3.0: 0.15, 4.0: 0.1}
"""Pixel size in the slice, with its probability. Few sizes, since each needs its system matrix."""
SLICES_MM = (1.5, 2.0, 2.5, 3.0, 3.3, 4.0)
TOF_PS = (0, 550, 400, 300, 215)
"""Resolution of the time of flight (FWHM, ps), from none to the best clinical scanner; equally likely."""
ITERATIONS = (2, 3, 4)
SUBSETS = (12, 16, 24)
PSF_SHARE = 0.5
NO_POST_FILTER = 0.2
NO_BONE = 0.1
FULL_FOV_MM = 256.0
"""Diameter of the transaxial field of view that is reconstructed."""


@dataclass(frozen=True)
class Drawn:
    """All that is drawn for one subject besides its anatomy, its lesions and the counts.

    tracer                   fdg, amyloid or fdopa
    positive                 a pathological pattern of the tracer: hypometabolism, cortical amyloid,
                             or loss of putaminal uptake
    head_scale               size of the head relative to the template's, before its own variation
    mbq_per_kg, minutes      injected activity, duration of the scan
    sensitivity_cps_per_kbq  of the scanner, without attenuation
    tof_ps                   resolution of the time of flight, 0: none
    fwhm_mm                  resolution of the scanner
    pixel_mm, slice_mm       voxel size of its reconstruction
    axial_fov_mm             length of its axial field of view
    scatter_fraction         scattered of all true and scattered coincidences
    scatter_error            relative error of the scatter that the reconstruction assumes
    randoms_fraction         random coincidences, relative to the trues
    bone                     whether the map for attenuation correction knows bone
    attenuation_error        relative error of that map
    misalignment_mm          its shift along x, y and z
    iterations, subsets      of OSEM
    psf_fwhm_mm              resolution that the reconstruction models, 0: none
    post_fwhm_mm             filter after reconstruction, 0: none
    """

    tracer: str
    positive: bool
    head_scale: float
    mbq_per_kg: float
    minutes: float
    sensitivity_cps_per_kbq: float
    tof_ps: int
    fwhm_mm: float
    pixel_mm: float
    slice_mm: float
    axial_fov_mm: float
    scatter_fraction: float
    scatter_error: float
    randoms_fraction: float
    bone: bool
    attenuation_error: float
    misalignment_mm: tuple[float, float, float]
    iterations: int
    subsets: int
    psf_fwhm_mm: float
    post_fwhm_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the scanner's own grid; even numbers."""
        across = 2 * round(FULL_FOV_MM / self.pixel_mm / 2)
        return across, across, 2 * round(self.axial_fov_mm / self.slice_mm / 2)

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Voxel size of the scanner's own grid, x, y and z."""
        return self.pixel_mm, self.pixel_mm, self.slice_mm


def draw(rng: np.random.Generator) -> Drawn:
    """The parameters of a subject, from its own random stream."""

    def within(name: str) -> float:
        return _plain(rng.uniform(*RANGES[name]))

    def choice(values: Any, weights: Any = None) -> Any:
        return values[int(rng.choice(len(values), p=weights))]

    name = choice(list(TRACERS), [tracer.share for tracer in TRACERS.values()])
    tracer = TRACERS[name]
    low, high = RANGES["sensitivity_cps_per_kbq"]
    fwhm = within("fwhm_mm")
    return Drawn(
        tracer=name,
        positive=bool(rng.random() < tracer.positive_share),
        head_scale=within("head_scale"),
        mbq_per_kg=_plain(rng.uniform(*tracer.mbq_per_kg)),
        minutes=_plain(rng.uniform(*tracer.minutes)),
        sensitivity_cps_per_kbq=_plain(math.exp(rng.uniform(math.log(low), math.log(high)))),
        tof_ps=choice(TOF_PS),
        fwhm_mm=fwhm,
        pixel_mm=choice(list(PIXELS_MM), list(PIXELS_MM.values())),
        slice_mm=choice(SLICES_MM),
        axial_fov_mm=within("axial_fov_mm"),
        scatter_fraction=within("scatter_fraction"),
        scatter_error=within("scatter_error"),
        randoms_fraction=within("randoms_fraction"),
        bone=bool(rng.random() >= NO_BONE),
        attenuation_error=within("attenuation_error"),
        misalignment_mm=(
            within("misalignment_mm"),
            within("misalignment_mm"),
            within("misalignment_mm"),
        ),
        iterations=choice(ITERATIONS),
        subsets=choice(SUBSETS),
        psf_fwhm_mm=_plain(fwhm * within("psf_factor")) if rng.random() < PSF_SHARE else 0.0,
        post_fwhm_mm=0.0 if rng.random() < NO_POST_FILTER else within("post_fwhm_mm"),
    )


def _plain(value: float) -> float:
    """Rounded, so that the record in dataset.json is the value that was used."""
    return round(float(value), 4)
