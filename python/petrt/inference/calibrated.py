"""The standard deviation of a run's samples, calibrated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petrt.diffusion.presets import Process
from petrt.evaluation.uncertainty.choice import dose_of, fitted_for
from petrt.evaluation.uncertainty.voxels import predicted_std
from petrt.inference.device import Results
from petrt.model.spec import ModelSpec


def calibrated(
    results: Results,
    model: ModelSpec,
    process: Process,
    dose: float | None,
    active: NDArray[np.bool_] | None,
    threads: int,
) -> Results:
    """``results`` over the scale with the calibrated standard deviation, where ``model`` has a fit for such a
    run; else unchanged. That of slices that are not ``active`` stays 0."""
    fit, _ = fitted_for(model, process.sampler, process.samples, dose)
    at = dose_of(model, dose)
    if fit is None or at is None:
        return results
    std = predicted_std(fit.map, results.std, results.mean, at, threads)
    if active is not None:
        std[~active] = 0
    return results._replace(std=std)
