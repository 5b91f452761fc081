"""The curve of the samplers: image and uncertainty against evaluations, and image against time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.quality.curve import measured, preset
from benchmarks.quality.model import COARSE
from benchmarks.quality.samplers import LABELS, Setting
from petrt.evaluation.report.figure import DPI, headed, png
from petrt.files.atomic import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"ddpm": "C0", "ddim": "C1", "dpmpp2m": "C2", "mean": "C3"}
STYLES = ("-", "--", ":")  # one sample, two, many
MARKERS = ("o", "s", "^")

Place = Callable[[Setting], float]


def save_curve(path: Path, section: dict[str, Any], dose: str) -> None:
    """Write the picture of one dose of quality.json's section ``samplers`` as a PNG."""
    atomic_write_bytes(path, png(lambda: _draw(section, dose)), overwrite=True)


def _draw(section: dict[str, Any], dose: str) -> Figure:
    from matplotlib.figure import Figure

    means, seconds = section["mean_sd"][dose], section["seconds"]["of"]
    figure = Figure(figsize=(15.0, 6.0), dpi=DPI, facecolor="white", layout="constrained")
    image, time, width = figure.subplots(1, 3)

    def evaluations(setting: Setting) -> float:
        return setting.evaluations

    def took(setting: Setting) -> float:
        return float(seconds[setting.name]["median_s"])

    _lines(image, section, means, evaluations, "standard.psnr")
    _lines(time, section, means, took, "standard.psnr")
    _lines(width, section, means, evaluations, "width", 100)
    for axes in (image, time):
        axes.set_ylabel("PSNR, dB (protocol standard)")
        if COARSE in means:
            axes.axhline(means[COARSE]["standard.psnr"][0], color="0.5", linewidth=1, label=COARSE)
    for axes in (image, width):
        axes.set_xlabel("evaluations of the denoiser, a slice")
    time.set_xlabel(f"seconds a slice, one thread ({section['seconds']['engine']})")
    width.set_ylabel("half-width of 90 % intervals, % of the maximum")
    for axes in (image, time, width):
        axes.margins(x=0.08, y=0.1)  # rings and their words stay inside
    handles = image.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    title = f"{section['settings']['model']}, {dose} dose, {len(section['subjects'])} subjects"
    figure.suptitle(headed(title), fontsize=11, parse_math=False)
    return figure


def _lines(
    axes: Axes,
    section: dict[str, Any],
    means: dict[str, Any],
    place: Place,
    metric: str,
    times: float = 1.0,
) -> None:
    """A line for each sampler and number of samples; rings around the presets."""
    from matplotlib.ticker import LogLocator, NullLocator

    groups: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for setting in measured(section):
        mean = means.get(setting.name, {}).get(metric)
        if mean:
            point = place(setting), times * mean[0]
            groups.setdefault((setting.samples, setting.kind), []).append(point)
    samples = sorted({key[0] for key in groups})
    for (count, kind), points in groups.items():
        look = samples.index(count) + (3 - len(samples))
        axes.plot(
            *zip(*sorted(points), strict=True),
            color=COLOURS[kind],
            marker=MARKERS[look],
            linestyle=STYLES[look],
            markersize=5,
            linewidth=1,
            label=f"{LABELS[kind]}, {count} sample{'s' * (count > 1)}",
        )
    for name in ("paper", "fast"):
        setting = preset(section, name)
        mean = means.get(setting.name, {}).get(metric)
        if mean:
            at = place(setting), times * mean[0]
            axes.plot(*at, "o", markersize=13, markerfacecolor="none", color="black")
            axes.annotate(
                name, at, xytext=(0, -18), textcoords="offset points", fontsize=9, ha="center"
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color="0.9")
