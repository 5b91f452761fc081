"""What a calibration does on subjects: likelihood and coverage of voxels and of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array64
from petrt.evaluation.calibration import LEVELS, z_value
from petrt.evaluation.uncertainty import regions as of_regions
from petrt.evaluation.uncertainty import voxels as of_voxels
from petrt.evaluation.uncertainty.fit import Errors, LogLinear
from petrt.model.spec import MapSpec, RegionSpec

FIFTHS = 5
Record = dict[str, Any]


def of_map(spec: MapSpec) -> LogLinear:
    """The map's fit as a model of errors."""
    found = np.array([getattr(spec, name) for name in of_voxels.NAMES])
    return LogLinear(of_voxels.NAMES, found)


def of_region(spec: RegionSpec) -> LogLinear:
    """A statistic's fit as a model of errors."""
    found = 2 * np.array([getattr(spec, name) for name in of_regions.NAMES])
    return LogLinear(of_regions.NAMES, found, of_regions.bias_of(spec))


def map_spec(model: LogLinear) -> MapSpec:
    """What a bundle keeps of a fit of voxels."""
    return MapSpec(**model.spec())


def region_spec(model: LogLinear) -> RegionSpec:
    """What a bundle keeps of a fit of regions: exponents of the standard deviation, not the variance."""
    bias = {n: float(each) for n, each in zip(of_regions.BIASES, model.bias, strict=True)}
    halves = {name: value / 2 for name, value in model.spec().items()}
    return RegionSpec(**bias, **halves)


def judge_voxels(
    model: LogLinear,
    baseline: LogLinear,
    parts: Sequence[Errors],
    tissues: Sequence[NDArray[np.uint8] | None],
    peaks: Sequence[float],
    names: Mapping[str, int],
    level: float,
) -> Record:
    """Likelihood and coverage of voxels at one dose, over subjects of equal weight.

    ``nll`` is that of errors in units of the full dose's maximum, ``peaks`` over the scale; ``baseline``
    knows the image's intensity alone. ``paired``: mean difference of the subjects' ``nll``, and the largest.
    ``plain``: coverage by the samples' own standard deviation, smoothed.
    ``tissues``: the label of each voxel of a part, or None; ``names`` of labels.
    """
    shift = np.log(peaks)
    ours = np.array([model.nll(part) for part in parts]) - shift
    theirs = np.array([baseline.nll(part) for part in parts]) - shift
    scores = np.concatenate([model.scores(part) for part in parts])
    spread = np.concatenate([model.log_variance(part) for part in parts])
    inside = scores <= z_value(level)
    fifths = np.array_split(inside[np.argsort(spread, kind="stable")], FIFTHS)
    record: Record = {
        "subjects": len(parts),
        "nll": float(ours.mean()),
        "nll_intensity_only": float(theirs.mean()),
        "paired": [float((ours - theirs).mean()), float((ours - theirs).max())],
        "coverage": {
            f"{each:g}": float(np.mean([np.mean(model.scores(p) <= z_value(each)) for p in parts]))
            for each in sorted({*LEVELS, level})
        },
        "plain": float(np.mean([np.mean(_own_scores(p) <= z_value(level)) for p in parts])),
        "by_fifth": [float(fifth.mean()) for fifth in fifths],
    }
    if all(tissue is not None for tissue in tissues):
        where = np.concatenate([np.asarray(tissue) for tissue in tissues])
        record["by_tissue"] = {
            name: float(inside[where == label].mean())
            for name, label in names.items()
            if (where == label).any()
        }
    return record


def _own_scores(voxels: Errors) -> Array64:
    """|error| over the samples' own, smoothed standard deviation."""
    variance = voxels.features[:, of_voxels.NAMES.index("samples")]
    return np.abs(voxels.error) * np.exp(-0.5 * variance)


def judge_regions(
    model: LogLinear, parts: Sequence[Errors], names: Sequence[str], level: float
) -> Record:
    """Coverage of one statistic of regions of one size at one dose.

    ``plain``: that of the samples' own standard deviation. ``rms`` of the error and of the predicted
    standard deviation, over the scale.
    """
    scores = np.concatenate([model.scores(part) for part in parts])
    rest = np.concatenate([model.rest(part) for part in parts])
    error = np.concatenate([part.error for part in parts])
    variance = np.concatenate([np.exp(model.log_variance(part)) for part in parts])
    column = names.index("samples")
    own = np.concatenate([np.exp(part.features[:, column]) for part in parts])
    z = z_value(level)
    return {
        "regions": len(error),
        "coverage": float(np.mean(scores <= z)),
        "plain": float(np.mean(np.abs(error) <= z * own)),
        "rms_error": float(np.sqrt(np.mean(error**2))),
        "rms_rest": float(np.sqrt(np.mean(rest**2))),
        "rms_std": float(np.sqrt(np.mean(variance))),
    }
