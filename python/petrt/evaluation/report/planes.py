"""Draws a sheet of planes: a row per plane, a column per volume. For petrt.evaluation.report.picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.evaluation.report.case import Kind, limits
from petrt.evaluation.report.figure import DPI, headed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

WIDTH_PX = 1200
MAX_INCHES = 14.0  # height of all planes: a long scan gets narrower columns, not a taller picture
MIN_INCHES = 0.55  # height of a row: the letters and the name of a thin plane need it
HEADER, FOOTER = 1.1, 0.9  # inches above and below the planes
NOTE_LETTERS = 165  # of a line of notes
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False}
COLOUR_MAPS: dict[Kind, str] = {"image": "gray_r", "difference": "RdBu_r", "uncertainty": "magma"}
# Plane name, the axis it cuts, the axes drawn to the left and upwards, and the letters at its
# sides. Right and anterior are on the viewer's left, the radiological convention.
PLANES = (
    ("axial", 2, 0, 1, "R", "L"),
    ("coronal", 1, 0, 2, "R", "L"),
    ("sagittal", 0, 1, 2, "A", "P"),
)


@dataclass(frozen=True)
class Sheet:
    """Shared by all parts of a picture: the planes' voxel, its place in mm (None: unknown), the voxel size,
    the top of the grey scale, and the radius of a ring around the voxel."""

    centre: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    top: float
    unit: str
    place: NDArray[np.float64] | None
    ring_mm: float | None


def draw_sheet(
    columns: Sequence[tuple[str, Array, Kind]], sheet: Sheet, title: str, notes: Sequence[str]
) -> Figure:
    """The figure: a row per plane, a column per volume, and a colour bar below each column."""
    from matplotlib.figure import Figure

    extents = [n * mm for n, mm in zip(columns[0][1].shape, sheet.voxel_mm, strict=True)]
    width, share = WIDTH_PX / DPI, 1 / len(columns)
    # All planes have the same scale. The widest fills its column, if the height allows.
    widest = max(extents[left] for _, _, left, *_ in PLANES)
    tallest = sum(extents[up] for _, _, _, up, *_ in PLANES)
    inch_per_mm = min(width * share / widest, MAX_INCHES / tallest)
    heights = [max(extents[up] * inch_per_mm, MIN_INCHES) for _, _, _, up, *_ in PLANES]
    total = sum(heights) + HEADER + FOOTER
    figure = Figure(figsize=(width, total), dpi=DPI, facecolor="white")
    for j, (name, volume, kind) in enumerate(columns):
        left, top = j * share, total - HEADER
        for plane, height in zip(PLANES, heights, strict=True):
            top -= height
            # A frame for the letters, which may be taller than the plane in it.
            frame = figure.add_axes((left, top / total, 0.99 * share, height / total))
            frame.set_axis_off()
            tall = extents[plane[3]] * inch_per_mm
            box = (left, (top + (height - tall) / 2) / total, 0.99 * share, tall / total)
            axes = figure.add_axes(box)
            shown = _show_plane(axes, volume, plane, kind, sheet)
            _letters(frame, plane, sheet, first=j == 0)
        bar = figure.add_axes((left + 0.12 * share, 0.62 / total, 0.76 * share, 0.1 / total))
        _add_colour_bar(bar, shown, sheet.unit, 3 if len(columns) <= 5 else 2)
        _column_title(figure, name, left + 0.5 * share, len(columns), total)
    figure.text(0.5, 1 - 0.22 / total, headed(title), **CENTRED, fontsize=14)
    lines = [line for note in notes for line in wrap(note, NOTE_LETTERS)]
    for i, line in enumerate(lines[:2]):
        at = 1 - (0.46 + 0.16 * i) / total
        figure.text(0.5, at, line, **CENTRED, fontsize=9, color="0.35")
    note = "radiological orientation: the patient's right is on the left"
    figure.text(0.5, 0.1 / total, note, **CENTRED, fontsize=9, color="0.35")
    return figure


def _column_title(figure: Figure, name: str, middle: float, columns: int, total: float) -> None:
    """The title of a column, on at most two lines that fit it; its second line, if given, is plain."""
    size = 12 if columns <= 5 else 10.5
    letters = max(int(WIDTH_PX / DPI / columns / (0.0088 * size)), 6)
    first, _, second = name.partition("\n")
    lines = [*wrap(first, letters), *([second] if second else [])][:2]
    figure.text(
        middle,
        1 - (HEADER - 0.24) / total,
        "\n".join(lines),
        **CENTRED,
        fontsize=size,
        linespacing=1.15,
    )


def _show_plane(
    axes: Axes, volume: Array, plane: tuple[str, int, int, int, str, str], kind: Kind, sheet: Sheet
) -> AxesImage:
    """Draw one plane of ``volume`` (RAS), and the ring around the centre."""
    _, cut, left, up, *_ = plane
    # An integer index keeps the order of the other axes, and left < up in every plane.
    picture = np.take(volume, sheet.centre[cut], axis=cut)[::-1].T
    low, high = limits(kind, sheet.top)
    shown = axes.imshow(
        picture,
        cmap=COLOUR_MAPS[kind],
        vmin=low,
        vmax=high,
        origin="lower",
        aspect=sheet.voxel_mm[up] / sheet.voxel_mm[left],
        interpolation="bilinear",
    )
    axes.set_axis_off()
    if sheet.ring_mm is not None:
        from matplotlib.patches import Ellipse

        at = volume.shape[left] - 1 - sheet.centre[left], sheet.centre[up]
        size = [2 * sheet.ring_mm / sheet.voxel_mm[axis] for axis in (left, up)]
        axes.add_patch(Ellipse(at, *size, fill=False, edgecolor="#e8590c", linewidth=1.2))
    return shown


def _letters(
    frame: Axes, plane: tuple[str, int, int, int, str, str], sheet: Sheet, *, first: bool
) -> None:
    """The letters of the plane's sides, and in the first column its name and place."""
    from matplotlib.patheffects import withStroke

    name, cut, _, _, left_letter, right_letter = plane
    look: dict[str, Any] = {
        "transform": frame.transAxes,
        "fontsize": 9,
        "color": "0.2",
        "path_effects": [withStroke(linewidth=2, foreground="white")],
        "parse_math": False,
    }
    frame.set_zorder(1)
    frame.text(0.035, 0.5, left_letter, ha="left", va="center", **look)
    frame.text(0.955, 0.5, right_letter, ha="right", va="center", **look)
    if first:
        where = "" if sheet.place is None else f", {'xyz'[cut]} {sheet.place[cut]:.0f} mm"
        frame.text(0.03, 0.03, f"{name}{where}", ha="left", va="bottom", **look)


def _add_colour_bar(axes: Axes, shown: AxesImage, unit: str, ticks: int) -> None:
    """Add a horizontal colour bar with few, short numbers."""
    from matplotlib.ticker import MaxNLocator

    assert axes.figure is not None
    bar = axes.figure.colorbar(shown, cax=axes, orientation="horizontal", ticks=MaxNLocator(ticks))
    bar.outline.set_linewidth(0.5)
    axes.tick_params(labelsize=9, length=2, pad=2)
    if unit:
        axes.set_xlabel(unit, fontsize=9, labelpad=1, parse_math=False)
