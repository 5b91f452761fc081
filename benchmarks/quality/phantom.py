"""The section ``phantom``: petrt phantom's report with the default preset's samples, and BM4D beside it.

BM4D's strength is that of its section on simulated brains; it filters the box that holds the phantom.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.quality.classical import BM4D, need_bm4d
from petrt.arrays import Array
from petrt.errors import UsageError
from petrt.evaluation.nema import DIAMETERS_MM
from petrt.evaluation.phantom_table import Images
from petrt.inference.phantom_report import Simulation, simulated
from petrt.inference.reconstructor import Reconstructor

BM4D_STRENGTH = (
    3.5  # times the noise, which BM4D takes for white; the curve over strengths is flat there
)
SMALL_MM = (10.0, 13.0, 17.0)


def reconstructor(options: argparse.Namespace) -> Reconstructor:
    """The model with the preset ``fast``, whose samples are those of the options."""
    return Reconstructor(
        options.model,
        preset="fast",
        samples=options.samples,
        seed=options.seed,
        threads=options.threads,
        allow_activity_change=True,
    )


def report(options: argparse.Namespace) -> dict[str, Any]:
    """The record of the section; the figures of each realisation are kept, without those of all filters."""
    what = Simulation(doses=options.doses, realisations=options.realisations, seed=options.seed)
    try:
        need_bm4d()
        others = bm4d
    except UsageError as error:
        print(f"without BM4D: {error}")
        others = None
    made = simulated(reconstructor(options), what, others)
    for doses in made["phantoms"].values():
        for found in doses.values():
            found["gain_by_realisation"] = [
                [row["gain_percent"] for row in each["equal_noise"]] for each in found["each"]
            ]
            found["strengths"] = {
                key: _spheres([each["strengths"][key] for each in found["each"]])
                for key in found["each"][0]["strengths"]
            }
            for name in found["each"][0].get("others", {}):
                found[name] = _spheres([each["others"][name] for each in found["each"]])
            del found["each"]
    return made


def bm4d(images: Images) -> dict[str, Array]:
    """BM4D of the low dose."""
    import bm4d as library

    peak = float(images.low.max())
    reference = images.low if images.full is None else images.full
    active = reference > 0.1 * reference.max()
    noise = float(np.std((images.low - reference)[active]))
    filtered = library.bm4d(images.low / peak, BM4D_STRENGTH * noise / peak) * peak
    return {BM4D: np.maximum(filtered, 0).astype(np.float32)}


def _spheres(results: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Means over realisations of Q and N by rising diameter."""
    rows = []
    for index, diameter in enumerate(DIAMETERS_MM):
        spheres = [result["spheres"][index] for result in results]
        row = {"diameter_mm": diameter}
        for key in ("contrast_percent", "variability_percent"):
            row[key] = round(float(np.mean([sphere[key] for sphere in spheres])), 2)
        rows.append(row)
    return rows
