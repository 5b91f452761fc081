"""Coverage of the intervals on test subjects, before and after the model's calibration factor."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.quality.statistics import rounded, summarise
from benchmarks.quality.store import Measured
from petrt.evaluation.calibration import LEVELS, ErrorBin, Voxels, coverage, error_by_std
from petrt.model.spec import ModelSpec

RAW, CALIBRATED = "samples' std", "calibrated std"


def tables(spec: ModelSpec, kept: dict[int, dict[str, Measured]], samples: int) -> dict[str, Any]:
    """By dose: coverage at each level (mean over subjects with its interval) and error against std.

    The factor is applied at every dose; ``fitted_here`` says where it was fitted, on other subjects.
    """
    fitted = spec.calibration
    factors = {RAW: 1.0}
    if fitted is not None and (fitted.samples, fitted.sampler) == (samples, spec.sampler):
        factors[CALIBRATED] = fitted.factor
    doses = {}
    for dose, cases in kept.items():
        voxels = [
            Voxels(m.arrays["error"], m.arrays["std"], int(m.notes["active_voxels"]))
            for m in cases.values()
        ]
        at = None if fitted is None else fitted.dose_fraction
        doses[f"1/{dose}"] = {
            "fitted_here": at is not None and abs(at * dose - 1) < 1e-3,
            "coverage": {name: _coverage(voxels, factor) for name, factor in factors.items()},
            "error_by_std": {
                name: [_bin(b) for b in error_by_std(voxels, factor)]
                for name, factor in factors.items()
            },
        }
    return {
        "fitted": None if fitted is None else fitted.model_dump(mode="json"),
        "subjects": list(next(iter(kept.values()))),
        "doses": doses,
    }


def _coverage(voxels: list[Voxels], factor: float) -> dict[str, Any]:
    return {
        f"{level:g}": summarise([coverage(v, level, factor) for v in voxels]).record()
        for level in LEVELS
    }


def _bin(each: ErrorBin) -> list[float | None]:
    """[std, error, share]"""
    return [rounded(value) for value in dataclasses.astuple(each)]
