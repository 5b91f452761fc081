"""The record of a run: what was computed, by what, and how; JSON-ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from petrt import _core
from petrt.diffusion.dose import AUTO, Told, dose_warnings
from petrt.diffusion.presets import Process
from petrt.diffusion.strength import std_at
from petrt.engines.select import ChosenEngine
from petrt.evaluation.uncertainty.choice import std_record
from petrt.imaging.grid import Placement, domain_warnings
from petrt.inference.domain import domain_warnings as unlike_training
from petrt.inference.domain import dose_record, run_dose
from petrt.inference.judgement import warnings as unusual
from petrt.io.inputs import Loaded
from petrt.model.bundle import Bundle

NOTICE = "not for diagnostic use"


def run_label(label: str) -> str:
    """The label of what a model of this ``label`` computes. What a model was trained on, such as simulated
    data, is told as the model's: the scan is another matter."""
    if label == NOTICE:
        return label
    own = f"the model's label: {label}"
    return own if NOTICE in label else f"{NOTICE}; {own}"


def run_record(
    bundle: Bundle,
    choice: ChosenEngine,
    process: Process,
    seed: int,
    told: Told,
    asked: bool,
    loaded: Loaded,
    placement: Placement,
    how: Mapping[str, Any],
    frames: Sequence[dict[str, Any]],
    strength: float = 1.0,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of one volume. ``told``: the dose, which was ``asked`` for or is a default; ``how``: the
    pipeline's own part; ``frames``: one part for each; ``strength``: see petrt.diffusion.strength;
    ``options``: how the input was let in and the result let out."""
    sampler = process.sampler
    model, engine = bundle.model, choice.engine
    dose = run_dose(told, model, frames)
    warnings = [
        *loaded.warnings,
        *domain_warnings(placement, model.domain),
        *([] if told == AUTO else dose_warnings(dose, model.domain)),
        *unlike_training(told, model, frames),
        *unusual(frames),
    ]
    return {
        "label": run_label(model.label),
        "petrt": _core.__version__,
        "model": {
            "name": model.name,
            "sha256": bundle.identity,
            "label": model.label,
            "shipped": bundle.shipped,
        },
        "engine": {
            "name": engine.name,
            "version": engine.version,
            "precision": engine.precision,
            "reason": choice.reason,
            **engine.notes,
        },
        "device": engine.device,
        **how,
        "dose_fraction": dose,
        "dose": dose_record(told, asked, model, frames),
        "seed": seed,
        "samples": process.samples,
        "preset": process.preset,
        "sampler": None if sampler is None else {"kind": sampler.kind, "steps": sampler.steps},
        "noise_sigma_z": model.noise_sigma_z,
        "strength": strength,
        "options": dict(options or {}),
        "std": std_at(std_record(model, sampler, process.samples, dose), strength),
        "grid": {
            "input": list(placement.input_shape),
            "network": list(placement.network_shape),
            "resampled": any(placement.resampled),
        },
        "voxels": {
            "negative": loaded.stats.negative,
            "nonfinite": loaded.stats.nonfinite,
            "replaced": loaded.stats.replaced,
        },
        "frames": list(frames),
        "warnings": warnings,
    }
