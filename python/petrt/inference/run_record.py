"""The record of a run: what was computed, by what, and how; JSON-ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from petrt import _core
from petrt.diffusion.dose import dose_warnings
from petrt.diffusion.presets import Process
from petrt.engines.select import ChosenEngine
from petrt.evaluation.uncertainty.choice import std_record
from petrt.imaging.grid import Placement, domain_warnings
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
    dose: float | None,
    loaded: Loaded,
    placement: Placement,
    how: Mapping[str, Any],
    frames: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The record of one volume. ``how``: the pipeline's own part; ``frames``: one part for each."""
    model, engine = bundle.model, choice.engine
    warnings = [
        *loaded.warnings,
        *domain_warnings(placement, model.domain),
        *dose_warnings(dose, model.domain),
        *unusual(frames),
    ]
    return {
        "label": run_label(model.label),
        "petrt": _core.__version__,
        "model": {"name": model.name, "sha256": bundle.identity, "label": model.label},
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
        "seed": seed,
        "samples": process.samples,
        "preset": process.preset,
        "sampler": {"kind": process.sampler.kind, "steps": process.sampler.steps},
        "std": std_record(model, process.sampler, process.samples, dose),
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
