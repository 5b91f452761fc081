"""The criteria of the policy: each with its bar, what old and new reach, and whether it is met."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.accept.policy import Policy
from benchmarks.quality.scores import Numbers
from benchmarks.quality.statistics import over_subjects, paired, rounded

Column = dict[str, Numbers]  # subject -> numbers, at one dose


@dataclass(frozen=True)
class Criterion:
    """``met`` is None where neither has the figure: no lesion, no calibration."""

    criterion: str
    at: str
    bar: str
    old: float | None
    new: float | None
    met: bool | None

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"old": rounded(self.old), "new": rounded(self.new)}


def accepted(criteria: list[Criterion]) -> bool:
    return all(each.met is not False for each in criteria)


def judged(
    policy: Policy,
    old: Mapping[int, Column],
    new: Mapping[int, Column],
    engine: Mapping[str, float],
    precision: str,
) -> list[Criterion]:
    """All criteria. ``engine``: the new one's figures against the reference."""
    made = []
    for dose in sorted(new):
        made += _at_dose(policy, f"1/{dose}", old[dose], new[dose])
    ratio = _median_ratio(old, new)
    most = policy.against_old.time_ratio
    made.append(Criterion("time over old", "all", f"<= {most:g}", 1.0, ratio, ratio <= most))
    least, most = policy.engine.psnr_db[precision], policy.engine.difference_percent[precision]
    level, difference = engine["psnr_db"], engine["difference_percent"]
    what = f"engine in {precision} against float32"
    bars = (f">= {least:g} dB", f"<= {most:g} %")
    return [
        *made,
        Criterion(f"{what}: PSNR, dB", "all", bars[0], None, level, level >= least),
        Criterion(f"{what}: difference, %", "all", bars[1], None, difference, difference <= most),
    ]


def _at_dose(policy: Policy, at: str, old: Column, new: Column) -> list[Criterion]:
    to_old, alone = policy.against_old, policy.absolute

    def less_old(name: str, key: str, mean: float, worst: float | None) -> list[Criterion]:
        """new - old, subject by subject."""
        before, after = over_subjects(_of(old, key)), over_subjects(_of(new, key))
        gain = paired(_of(new, key), _of(old, key))
        if before is None or after is None or gain is None:
            lost = False if before is not None else None
            return [Criterion(f"{name} - old", at, f">= {mean:g}", None, None, lost)]
        ends = before.mean, after.mean
        made = [Criterion(f"{name} - old", at, f">= {mean:g}", *ends, gain.mean >= mean)]
        if worst is not None:
            what, met = f"{name} - old, worst subject", gain.lowest >= worst
            made.append(Criterion(what, at, f">= {worst:g}", None, gain.lowest, met))
        return made

    def within(name: str, key: str, most: float) -> Criterion:
        """The absolute mean of a bias in per cent."""
        before, after = _mean(old, key), _mean(new, key)
        return _kept(name, at, f"within {most:g} %", before, after, lambda got: abs(got) <= most)

    percent = {
        side: {s: {"activity": 100 * (n["activity_ratio"] - 1)} for s, n in column.items()}
        for side, column in (("old", old), ("new", new))
    }
    worst = [max(abs(n["activity"]) for n in percent[side].values()) for side in ("old", "new")]
    most = alone.activity_worst_percent
    low, high = alone.coverage_percent
    peaks = _mean(old, "lesion_peak_bias"), _mean(new, "lesion_peak_bias")
    return [
        *less_old("PSNR, dB", "standard.psnr", to_old.psnr_db, to_old.psnr_worst_db),
        *less_old("SSIM", "standard.ssim", to_old.ssim, None),
        _kept(
            "activity, %",
            at,
            f"within {alone.activity_percent:g} %",
            _mean(percent["old"], "activity"),
            _mean(percent["new"], "activity"),
            lambda got: abs(got) <= alone.activity_percent,
        ),
        Criterion("activity, worst subject, %", at, f"<= {most:g} %", *worst, worst[1] <= most),
        within("grey matter, %", "grey_bias", alone.grey_percent),
        within("white matter, %", "white_bias", alone.white_percent),
        within("SUVpeak of lesions, %", "lesion_peak_bias", alone.peak_percent),
        _kept(
            "SUVpeak bias over old, points",
            at,
            f"<= {to_old.peak_points:g}",
            *peaks,
            lambda got: abs(got) - abs(peaks[0] or 0.0) <= to_old.peak_points,
        ),
        _kept(
            "coverage of 90 % intervals",
            at,
            f"{low:g} to {high:g} %",
            _mean(old, "coverage"),
            _mean(new, "coverage"),
            lambda got: low <= got <= high,
        ),
    ]


def _kept(
    name: str, at: str, bar: str, old: float | None, new: float | None, holds: Any
) -> Criterion:
    """A figure that the new one lacks is a refusal if the old one has it."""
    met = holds(new) if new is not None else None if old is None else False
    return Criterion(name, at, bar, old, new, met)


def _of(column: Column, key: str) -> dict[str, float | None]:
    """subject -> value; None for one that has none, such as the SSIM of fewer slices than its window."""
    values = {subject: numbers.get(key) for subject, numbers in column.items()}
    return {s: v if v is not None and math.isfinite(v) else None for s, v in values.items()}


def _mean(column: Column, key: str) -> float | None:
    found = over_subjects(_of(column, key))
    return None if found is None else found.mean


def _median_ratio(old: Mapping[int, Column], new: Mapping[int, Column]) -> float:
    """Of the seconds of the same case."""
    ratios = [
        new[dose][subject]["seconds"] / old[dose][subject]["seconds"]  # type: ignore[operator]
        for dose in new
        for subject in new[dose]
    ]
    return statistics.median(ratios)
