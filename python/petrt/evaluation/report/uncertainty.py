"""Draws the error-versus-std plot, which shows how well a std predicts the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from petrt.errors import InputError
from petrt.evaluation.calibration import ErrorBin
from petrt.evaluation.report.figure import DPI, headed, png
from petrt.files.atomic import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = Mapping[str, Sequence[ErrorBin]]


def save_error_plot(
    path: str | Path, curves: Curves, *, title: str = "", overwrite: bool = False
) -> None:
    """Write a PNG of RMS error against RMS std, with a line for each of ``curves`` (label -> bins).

    Axes are in per cent of the reference's maximum. On the dashed line the std equals the expected
    error. Raises InputError without a curve.
    """
    if not curves or not all(curves.values()):
        raise InputError("an error plot needs at least one curve with a bin")
    atomic_write_bytes(path, png(lambda: _draw(curves, title)), overwrite=overwrite)


def _draw(curves: Curves, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 6.0), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.12, 0.1, 0.85, 0.83))
    for label, bins in curves.items():
        std, error = ([100 * getattr(each, key) for each in bins] for key in ("std", "error"))
        axes.plot(std, error, marker="o", markersize=4, label=label)
    top = 100 * max(max(each.std, each.error) for bins in curves.values() for each in bins) or 1.0
    axes.plot([0, top], [0, top], color="black", linestyle="--", linewidth=1, label="error = std")
    axes.set(xlim=(0, 1.03 * top), ylim=(0, 1.03 * top), aspect="equal")
    axes.set_xlabel("std, % of the full-dose maximum (RMS of a bin)")
    axes.set_ylabel("error against full dose, % of its maximum (RMS)")
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    axes.set_title(headed(title), fontsize=11, parse_math=False)
    return figure
