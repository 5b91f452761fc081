"""Errors of organs as the Ultra-low Dose PET challenge counts them.

Its script (petrt.evaluation.metrics) labels liver, heart, right and left kidney by 1 to 4 and takes
|prediction - reference| / |reference| in per cent of SUVmean, SUVmax and total lesion metabolism (SUVmean x
voxels, so that its error is that of SUVmean). Its radiomics and its score with their weights are not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from petrt.errors import InputError, UsageError, called
from petrt.evaluation.activity import RoiStatistics
from petrt.values import shown

ORGANS = {1: "liver", 2: "heart", 3: "kidneyRight", 4: "kidneyLeft"}
"""Labels and names of the challenge's masks."""


@dataclass(frozen=True)
class OrganError:
    """Absolute errors in per cent of one organ; None where the reference's value is 0."""

    label: int
    name: str
    suvmean: float
    suvmax: float
    suvmean_error_percent: float | None
    suvmax_error_percent: float | None


def organ_errors(
    regions: Sequence[RoiStatistics], names: Mapping[int, str] | None = None
) -> list[OrganError]:
    """The errors of the ``regions`` (petrt.evaluation.activity.roi_statistics with a reference).

    ``names``: label -> name; regions without one are called by their number. Raises InputError for a
    name whose label is in no region, and regions measured without a reference.
    """
    names = {} if names is None else names
    if absent := sorted(set(names) - {region.label for region in regions}):
        there = ", ".join(str(region.label) for region in regions)
        raise InputError(f"no voxel has the label {absent[0]}", f"the label map has {there}")
    return [_organ(region, names.get(region.label, str(region.label))) for region in regions]


def parse_names(text: str) -> dict[int, str]:
    """Label -> name from "1=liver,2=heart", or of the challenge's masks from "challenge"."""
    if text == "challenge":
        return dict(ORGANS)
    names: dict[int, str] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})\s*=\s*([\w -]{1,40}?)\s*", part)
        if match is None or int(match[1]) in names or not int(match[1]):
            raise UsageError(f"{called('names')} is {shown(text)}", "give them as 1=liver,2=heart")
        names[int(match[1])] = match[2]
    return names


def _organ(region: RoiStatistics, name: str) -> OrganError:
    if region.reference_mean is None or region.reference_max is None:
        raise InputError("the regions were measured without a reference")
    return OrganError(
        region.label,
        name,
        region.mean,
        region.max,
        _error(region.mean, region.reference_mean),
        _error(region.max, region.reference_max),
    )


def _error(value: float, reference: float) -> float | None:
    return 100 * abs(value - reference) / abs(reference) if reference else None
