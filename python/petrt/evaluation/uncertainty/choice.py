"""Which calibration of a model is valid for a run, and what its record says."""

from __future__ import annotations

from typing import Any

from petrt.diffusion.dose import ROUNDING, dose_text
from petrt.evaluation.calibration import std_record as factor_record
from petrt.model.spec import ModelSpec, SamplerSpec, SamplesSpec

# Regions up to this factor smaller or larger than those of the fit.
SIZE_SLACK = 2.0


def fitted_for(
    model: ModelSpec, sampler: SamplerSpec | None, samples: int, dose: float | None
) -> tuple[SamplesSpec | None, str]:
    """The fit that is valid for such samples at this dose, or None; and the reason.

    ``dose``: None is the model's own.
    """
    if samples < 2:
        return None, "a single sample has no standard deviation"
    if model.uncertainty is None:
        return None, "the model has no calibration"
    same = [fit for fit in model.uncertainty.fits if fit.sampler == sampler]
    if not same:
        others = ", ".join(f"{f.sampler.kind} of {f.sampler.steps}" for f in model.uncertainty.fits)
        return None, f"fitted for {others} steps"
    fit = next((fit for fit in same if fit.samples == samples), None)
    if fit is None:
        counts = " or ".join(str(fit.samples) for fit in same)
        return None, f"fitted for {counts} samples"
    low, high = model.uncertainty.doses
    at = dose_of(model, dose)
    if at is None:
        return (
            None,
            f"fitted at doses of {dose_text(low)} to {dose_text(high)}, this one is unknown",
        )
    if not low / (1 + ROUNDING) <= at <= high * (1 + ROUNDING):
        return None, f"fitted at doses of {dose_text(low)} to {dose_text(high)}"
    return fit, "fitted for this sampler, these samples and doses"


def dose_of(model: ModelSpec, dose: float | None) -> float | None:
    """``dose``, or the model's own where it is None."""
    return model.domain.dose_fraction if dose is None else dose


def std_record(
    model: ModelSpec, sampler: SamplerSpec | None, samples: int, dose: float | None
) -> dict[str, Any]:
    """The record of a std map: as ``petrt.evaluation.calibration.std_record`` for a model that has only a
    factor. The factor is 1 where the map comes from a fit: it is calibrated already."""
    if model.uncertainty is None:
        return factor_record(model.calibration, sampler, samples, dose)
    fit, reason = fitted_for(model, sampler, samples, dose)
    level = None if fit is None else model.uncertainty.level
    return {"calibrated": fit is not None, "factor": 1.0, "level": level, "reason": reason}


def size_reason(model: ModelSpec, ml: float) -> str:
    """Why a region of this size has no interval; "" if it has."""
    assert model.uncertainty is not None
    low, high = model.uncertainty.volumes_ml
    if low / SIZE_SLACK <= ml <= high * SIZE_SLACK:
        return ""
    return f"regions of {low:.3g} to {high:.3g} ml were fitted"
