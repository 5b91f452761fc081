"""A result of ``petrt bench`` as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from petrt.bench.measure import STAGES
from petrt.evaluation.report.figure import DPI, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def picture(result: Mapping[str, Any]) -> bytes:
    """PNG: seconds of each stage with floors, and cost against slices, samples, steps and pixels."""
    return png(lambda: _figure(result))


def _figure(result: Mapping[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), dpi=DPI, layout="constrained")
    if not result["scaling"]:
        draw_stages(figure.subplots(), result["candidates"])
        return figure
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    draw_stages(left, result["candidates"])
    draw_scaling(right, result["scaling"])
    return figure


def draw_stages(axes: Axes, candidates: Mapping[str, Any]) -> None:
    """One bar a candidate, stages stacked; a black line where its floor is."""
    names = list(candidates)[::-1]  # the first on top
    ends = dict.fromkeys(names, 0.0)
    for stage in STAGES:
        widths = [candidates[n]["stages"].get(stage, {}).get("median_s", 0.0) for n in names]
        if any(widths):
            axes.barh(names, widths, left=list(ends.values()), label=stage)
            for name, width in zip(names, widths, strict=True):
                ends[name] += width
    for row, name in enumerate(names):
        entry = candidates[name]
        if not ends[name]:  # a pipeline that does not tell its stages
            axes.barh([name], [entry["volume"]["median_s"]], color="grey")
        floor = entry.get("floor", {}).get("floor_s")
        if floor:
            axes.plot([floor, floor], [row - 0.4, row + 0.4], color="black", linewidth=2)
    axes.set_xlabel("seconds a volume; black: the floor by the machine's peaks")
    axes.margins(y=0.05)
    if names and any(ends.values()):
        axes.legend(fontsize="small")


def draw_scaling(axes: Axes, scaling: Mapping[str, Any]) -> None:
    """Whole volumes against each number over its largest, so that all fit one picture."""
    for name, found in scaling.items():
        if name in ("candidate", "threads"):
            continue
        most = max(found["x"])
        axes.plot(
            [x / most for x in found["x"]], found["seconds"]["volume"], marker="o", label=name
        )
    axes.set_xlabel("number over its largest")
    axes.set_ylabel("seconds a volume")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
