"""The part of a page that a full dose gives: metrics, Bland-Altman, reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from petrt.evaluation.calibration import active_voxels
from petrt.evaluation.metrics import Metrics, evaluate
from petrt.evaluation.report import plots
from petrt.evaluation.report.case import Case
from petrt.evaluation.report.findings import Regions, regions
from petrt.evaluation.report.html import Html, card, number, percent, table

SHOWN = {"psnr": ".2f", "ssim": ".4f", "nmse": ".5f"}  # metrics, and the form of their numbers
NO_STD = "no map of standard deviations is at hand"
Scores = dict[str, dict[str, Metrics]]  # volume -> protocol -> metric


def scores_of(case: Case) -> Scores:
    """The metrics of input, [coarse] and output; empty without a reference with activity."""
    if case.reference is None or not case.reference.max() > 0:
        return {}
    compared = ("input", "coarse", "output") if case.base == "input" else ("output",)
    names = [name for name in compared if name in case.volumes]
    return {name: evaluate(case.volumes[name], case.reference) for name in names}


def against_reference(case: Case, scores: Scores) -> Html:
    """What a full dose tells: metrics by protocol, Bland-Altman, reliability; "" without one."""
    if case.reference is None or not case.reference.max() > 0:
        return Html("")
    parts = [_metrics(case, scores)]
    found = regions(case)
    if found is not None:
        parts.append(_bland_altman(case, found))
    if case.std is not None and float(case.std.max()) > 0:
        voxels = active_voxels(case.output, case.std, case.reference)
        kind = (
            "Calibrated." if case.calibrated else "Not calibrated: the spread of the samples alone."
        )
        plot = plots.reliability_svg(voxels, "Coverage of the intervals by level")
        note = f"{kind} Below the line the intervals are too narrow."
        parts.append(card("Reliability", plot, note))
        plot = plots.error_by_std_svg(voxels, "Error against standard deviation")
        parts.append(
            card("Error against standard deviation", plot, "Root mean squares, equal bins.")
        )
    return Html(f'<div class="grid">{"".join(parts)}</div>')


def frames_card(frames: Sequence[Mapping[str, Any]]) -> Html:
    """The metrics of all frames of a series, by protocol. ``frames``: as petrt evaluate has them in JSON."""
    names = [f"{key.upper()}, {protocol}" for protocol in frames[0]["metrics"] for key in SHOWN]
    rows = [
        [
            *(place, number(frame["activity_ratio"])),
            *(number(by[key]) for by in frame["metrics"].values() for key in SHOWN),
        ]
        for place, frame in enumerate(frames, 1)
    ]
    return card("Frames", table(["frame", "activity ratio", *names], rows), "PSNR in dB.")


def _metrics(case: Case, scores: Scores) -> Html:
    rows = []
    for protocol in scores["output"]:
        for key, form in SHOWN.items():
            label = f"{key.upper()}{' (dB)' if key == 'psnr' else ''}, {protocol}"
            values = [by[protocol][key] for by in scores.values()]
            rows.append([label, *(format(v, form) if np.isfinite(v) else "–" for v in values)])
    note = "By named protocol (docs/method.md)."
    if case.std is None:
        note += f" No reliability: {NO_STD}."
    elif not float(case.std.max()) > 0:
        note += " No reliability: the standard deviation is 0 everywhere."
    return card("Against the full dose", table(["", *scores], rows), note)


def _bland_altman(case: Case, found: Regions) -> Html:
    percents = plots.difference_percent(found)
    bias, spread = float(percents.mean()), 1.96 * float(percents.std())
    note = (
        f"{len(percents)} {found.what}: bias {percent(bias)}, limits of agreement "
        f"{percent(bias - spread)} to {percent(bias + spread)}."
    )
    plot = plots.bland_altman_svg(found, case.unit, "Bland-Altman plot of regions")
    return card("Bland–Altman of regions", plot, note)
