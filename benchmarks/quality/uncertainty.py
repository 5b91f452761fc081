"""What a model's calibration of voxels and regions does on test subjects, for each of its presets."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.quality.cases import QualityCase, head_box
from benchmarks.quality.store import Arrays, Measured
from petrt.evaluation.uncertainty import regions as of_regions
from petrt.evaluation.uncertainty import voxels as of_voxels
from petrt.evaluation.uncertainty.fit import Errors
from petrt.imaging.scaling import scale_of
from petrt.inference.calibrate import Gathered, judge, measured
from petrt.inference.reconstructor import Reconstructor
from petrt.model.bundle import Bundle
from petrt.model.spec import SamplesSpec

Record = dict[str, Any]
# What is kept of a case depends on them.
FEATURES = (*of_voxels.NAMES, *of_regions.NAMES)
KINDS = ("1 ml", "5 ml", "20 ml", "100 ml", "lesion", "tissue")


def name_of(fit: SamplesSpec) -> str:
    """The fit's sampler in words."""
    steps = fit.sampler.steps
    return f"{fit.sampler.kind} of {steps} step{'s' if steps > 1 else ''}, {fit.samples} samples"


def measure(
    bundle: Bundle, fit: SamplesSpec, case: QualityCase, seed: int, threads: int | None
) -> Measured:
    """The errors of the head's voxels and regions, run with the sampler of ``fit``."""
    run = Reconstructor(
        bundle,
        sampler=fit.sampler.kind,
        steps=fit.sampler.steps,
        samples=fit.samples,
        seed=seed,
        threads=threads,
        skip_background=False,
    )
    scale = np.float32(scale_of(case.low, bundle.model.scale, case.voxel_mm))
    box, (x, y, z) = head_box(case.full), case.voxel_mm
    low, full = (v[box].transpose(2, 0, 1) / scale for v in (case.low, case.full))
    tissue = None if case.labels is None else case.labels[box].transpose(2, 0, 1)
    return to_arrays(measured(run, case.subject, case.dose, low, full, tissue, (z, x, y)))


def to_arrays(found: Gathered) -> Measured:
    """``found`` in a form that is kept."""
    arrays: Arrays = {"error": found.voxels.error, "features": found.voxels.features}
    if found.tissue is not None:
        arrays["tissue"] = found.tissue
    for kind, statistics in found.regions.items():
        for statistic, errors in statistics.items():
            for part in ("error", "features", "values"):
                arrays[f"{kind}/{statistic}/{part}"] = getattr(errors, part)
    return Measured(notes={"peak": found.peak, "ml": list(found.ml)}, arrays=arrays)


def from_arrays(subject: str, dose: int, kept: Measured) -> Gathered:
    """The inverse of ``to_arrays``."""
    regions: dict[str, dict[str, Errors]] = {}
    for key in kept.arrays:
        kind, *rest = key.split("/")
        if rest and rest[1] == "error":
            error, x, v = (
                kept.arrays[f"{kind}/{rest[0]}/{p}"] for p in ("error", "features", "values")
            )
            regions.setdefault(kind, {})[rest[0]] = Errors(subject, error, x, of_regions.NAMES, v)
    low, high = kept.notes["ml"]
    return Gathered(
        subject,
        dose,
        Errors(subject, kept.arrays["error"], kept.arrays["features"], of_voxels.NAMES),
        kept.arrays.get("tissue"),
        regions,
        kept.notes["peak"],
        (low, high),
    )


def tables(fit: SamplesSpec, level: float, kept: dict[int, dict[str, Measured]]) -> Record:
    """Likelihood and coverage at each dose."""
    found = [
        from_arrays(subject, dose, measured_)
        for dose, cases in kept.items()
        for subject, measured_ in cases.items()
    ]
    return judge(found, fit, level)


def markdown(record: Record) -> list[str]:
    """The section's tables."""
    level = record["settings"]["level"]
    lines = ["", f"## Uncertainty: what {100 * level:g} % intervals cover", ""]
    heads = [
        "",
        "dose",
        "all voxels",
        "samples' std",
        "fifths of the std",
        "grey",
        "white",
        "lesions",
    ]
    lines.append("| " + " | ".join([*heads, "nll", "nll of the intensity", "worst subject"]) + " |")
    lines.append("|---" * (len(heads) + 3) + "|")
    for name, doses in record["samplers"].items():
        for dose, judged in doses.items():
            seen, tissue = judged["voxels"], judged["voxels"].get("by_tissue", {})
            shares = [seen["coverage"][f"{level:g}"], seen["plain"]]
            fifths = f"{100 * min(seen['by_fifth']):.1f}-{100 * max(seen['by_fifth']):.1f} %"
            parts = [_share(tissue.get(key)) for key in ("grey", "white", "lesion")]
            nll = [f"{seen['nll']:.4f}", f"{seen['nll_intensity_only']:.4f}"]
            cells = [name, dose, *map(_share, shares), fifths, *parts, *nll]
            lines.append("| " + " | ".join([*cells, f"{seen['paired'][1]:+.4f}"]) + " |")
    lines += ["", "With the fit, and without it (the samples' own standard deviation):", ""]
    lines.append("| | dose | region | number | mean | without | peak | without | max | without |")
    lines.append("|---" * 10 + "|")
    for name, doses in record["samplers"].items():
        for dose, judged in doses.items():
            for kind in (k for k in KINDS if k in judged["regions"]):
                by = judged["regions"][kind]
                shares = [
                    _share(by[s][k]) for s in ("mean", "peak", "max") for k in ("coverage", "plain")
                ]
                cells = [name, dose, kind, str(by["mean"]["regions"]), *shares]
                lines.append("| " + " | ".join(cells) + " |")
    subjects = len(record["subjects"])
    return [*lines, "", f"{record['settings']['model']}: {subjects} subjects, head's box."]


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
