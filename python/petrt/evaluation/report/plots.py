"""The plots of a page, as SVG whose colours and font are those of the page, in light and in dark."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from petrt.arrays import Array64
from petrt.evaluation.calibration import Voxels, coverage, error_by_std
from petrt.evaluation.report.figure import svg
from petrt.evaluation.report.findings import Profile, Regions, Spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that the page replaces by its own: matplotlib draws with the first, the page shows the second.
INK, MUTED, GRID = "#010101", "#020202", "#030303"
LINES = {
    "input": "#040404",
    "output": "#050505",
    "coarse": "#060606",
    "reference": "#070707",
    "residual": "#080808",
}
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    **{colour: f"--c-{name}" for name, colour in LINES.items()},
}
_STYLE = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "petrt",
    "font.size": 12,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
STRUCTURE = 2e-3  # of an image's largest amplitude
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def profile_svg(profile: Profile, unit: str, base: str, description: str) -> str:
    """Values along a line, with the interval of the output where it has one."""

    def draw(axes: Axes) -> None:
        order = [name for name in LINES if name in profile.lines]
        for name in order:
            strong = name == "output"
            axes.plot(
                profile.mm,
                profile.lines[name],
                color=LINES[name],
                label=_name(name, base),
                linewidth=2.0 if strong else 1.2,
                linestyle="--" if name == "reference" else "-",
                zorder=3 if strong else 2,
            )
        if profile.half is not None:
            low, high = (profile.lines["output"] + sign * profile.half for sign in (-1, 1))
            axes.fill_between(profile.mm, low, high, color=LINES["output"], alpha=0.18, linewidth=0)
        axes.set(xlabel="mm, from the patient's left to right", xlim=_ends(profile.mm)[::-1])
        axes.set_ylabel(unit or "value")
        axes.set_ylim(bottom=min(0.0, *(float(line.min()) for line in profile.lines.values())))
        axes.legend(loc="upper right", ncols=2)

    return _plot(draw, description, wide=True)


def spectrum_svg(spectrum: Spectrum, base: str, description: str) -> str:
    """Amplitudes by frequency."""

    def draw(axes: Axes) -> None:
        whole = max(float(spectrum.amplitudes["input"].max()), 1e-300)
        for name, colour in LINES.items():
            if name in spectrum.amplitudes:
                values = np.maximum(spectrum.amplitudes[name] / whole, 1e-6)
                axes.plot(spectrum.per_cm, values, color=colour, label=_name(name, base))
        axes.set(yscale="log", xlabel="spatial frequency, 1/cm", ylabel="amplitude, relative")
        axes.set_xlim(0, float(spectrum.per_cm[-1]))
        axes.legend(loc="upper right")

    return _plot(draw, description)


def share_svg(spectrum: Spectrum, base: str, description: str) -> str:
    """What the residual holds of the image, by frequency."""

    def draw(axes: Axes) -> None:
        of_input = f"like the output, % of the {base}"
        lines = [("residual", of_input, spectrum.damped)]
        if spectrum.lost is not None:
            lines.append(("reference", "lost, % of the full dose", spectrum.lost))
        for name, label, values in lines:
            axes.plot(spectrum.per_cm, 100 * values, color=LINES[name], label=label)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xlabel="spatial frequency, 1/cm", ylabel="in the residual, %")
        # Beyond, image and full dose are mostly noise.
        shape = spectrum.amplitudes["output"] >= STRUCTURE * spectrum.amplitudes["output"].max()
        last = max(int(np.flatnonzero(shape)[-1]) + 1, 2)
        each = np.concatenate([100 * values[:last] for _, _, values in lines])
        axes.set_ylim(min(-20.0, 1.15 * float(each.min())), max(20.0, 1.15 * float(each.max())))
        axes.set_xlim(0, float(spectrum.per_cm[:last][-1]))
        axes.legend(loc="best")

    return _plot(draw, description)


def bland_altman_svg(regions: Regions, unit: str, description: str) -> str:
    """Difference against mean of output and reference (Bland and Altman, Lancet 327, 1986)."""

    def draw(axes: Axes) -> None:
        mean = (regions.output + regions.reference) / 2
        percent = difference_percent(regions)
        axes.scatter(mean, percent, s=14, color=LINES["output"], alpha=0.65, linewidth=0)
        bias, spread = float(percent.mean()), 1.96 * float(percent.std())
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.axhline(bias, color=LINES["output"], linewidth=1.4)
        for sign in (-1, 1):
            axes.axhline(bias + sign * spread, color=LINES["output"], linewidth=1, linestyle="--")
        axes.set_xlabel(f"mean of output and full dose{f', {unit}' if unit else ''}")
        axes.set_ylabel("output − full dose, % of their mean")

    return _plot(draw, description)


def _name(line: str, base: str) -> str:
    """What a line is called; ``base``: the name of the volume that the output is compared with."""
    names = {"input": base, "reference": "full dose", "residual": f"residual ({base} − output)"}
    return names.get(line, line)


def difference_percent(regions: Regions) -> Array64:
    """100 (output - reference) / their mean, 0 where that is 0."""
    mean = (regions.output + regions.reference) / 2
    difference = regions.output - regions.reference
    return np.divide(100 * difference, mean, out=np.zeros_like(mean), where=mean != 0)


def reliability_svg(voxels: Voxels, description: str) -> str:
    """Share of voxels whose full-dose value lies in the interval, against the interval's level."""

    def draw(axes: Axes) -> None:
        axes.plot([50, 100], [50, 100], color=MUTED, linewidth=1, linestyle="--", label="ideal")
        found = [100 * coverage(voxels, level) for level in LEVELS]
        levels = [100 * level for level in LEVELS]
        axes.plot(levels, found, color=LINES["output"], marker="o", markersize=4, label="output")
        axes.set(xlabel="level of the interval, %", ylabel="full dose inside, %", xlim=(50, 100))
        axes.set_ylim(min(50.0, *found) - 2, 101)
        axes.legend(loc="lower right")

    return _plot(draw, description)


def error_by_std_svg(voxels: Voxels, description: str) -> str:
    """RMS error against RMS standard deviation in bins of equal size."""

    def draw(axes: Axes) -> None:
        bins = error_by_std([voxels])
        std, error = ([100 * getattr(each, key) for each in bins] for key in ("std", "error"))
        top = 1.05 * max(*std, *error)
        axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle="--", label="ideal")
        axes.plot(std, error, color=LINES["output"], marker="o", markersize=4, label="output")
        axes.set(xlabel="standard deviation, % of the maximum", ylabel="error, % of the maximum")
        axes.set(xlim=(0, top), ylim=(0, top))
        axes.legend(loc="upper left")

    return _plot(draw, description)


def _plot(draw: Callable[[Axes], None], description: str, *, wide: bool = False) -> str:
    def figure() -> Figure:
        from matplotlib.figure import Figure

        drawn = Figure(figsize=(15.6 if wide else 7.4, 4.4), layout="constrained")
        drawn.patch.set_alpha(0)
        axes = drawn.add_subplot()
        axes.patch.set_alpha(0)
        axes.set_axisbelow(True)
        draw(axes)
        return drawn

    return themed(svg(figure, _STYLE), description)


def themed(text: str, description: str) -> str:
    """An SVG for a page: without a fixed size or font, with the page's colours, and with a description."""
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    return text.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)


def _ends(values: Any) -> tuple[float, float]:
    return float(np.min(values)), float(np.max(values))
