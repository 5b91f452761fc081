"""Contrast recovery against background variability, a panel for each sphere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from petrt.evaluation.nema import DIAMETERS_MM
from petrt.evaluation.report.figure import headed, import_matplotlib, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Records = Sequence[Mapping[str, Any]]


def phantom_png(records: Records, title: str) -> bytes:
    """The picture, PNG, of the realisations' ``records`` (petrt.evaluation.phantom_table.figures): their
    means over the Gaussian filters and the strengths of the model, and the full dose where there is one."""
    return png(lambda: _draw(records, title))


def _draw(records: Records, title: str) -> Figure:
    import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.4), layout="constrained")
    figure.suptitle(headed(title))
    axes = figure.subplots(2, 3).ravel()
    for index, (axis, diameter) in enumerate(zip(axes, DIAMETERS_MM, strict=True)):
        for key, label, style in (
            ("gaussian_mm", "Gaussian filters", "o-"),
            ("strengths", "model, strength 0 to 1", "s-"),
        ):
            noise, contrast = _curve(records, key, index)
            axis.plot(noise, contrast, style, markersize=3, label=label)
        for name in records[0].get("others", {}):
            noise, contrast = _curve(
                [{name: {"": r["others"][name]}} for r in records], name, index
            )
            axis.plot(noise, contrast, "^", label=name)
        if all("full" in record for record in records):
            noise, contrast = _curve([{"full": {"": r["full"]}} for r in records], "full", index)
            axis.plot(noise, contrast, "k*", label="full dose")
        hot = records[0]["strengths"]["0"]["spheres"][index]["hot"]
        axis.set_title(f"{diameter:g} mm, {'hot' if hot else 'cold'}", fontsize=9)
        axis.grid(alpha=0.3)
    for axis in axes[3:]:
        axis.set_xlabel("background variability N, %")
    for axis in axes[::3]:
        axis.set_ylabel("contrast recovery Q, %")
    axes[0].legend(fontsize=7)
    return figure


def _curve(records: Records, key: str, index: int) -> tuple[list[float], list[float]]:
    """Mean N and Q of a sphere along the settings of ``key``."""
    noise, contrast = [], []
    for setting in records[0][key]:
        spheres = [record[key][setting]["spheres"][index] for record in records]
        noise.append(sum(s["variability_percent"] for s in spheres) / len(spheres))
        contrast.append(sum(s["contrast_percent"] for s in spheres) / len(spheres))
    return noise, contrast
