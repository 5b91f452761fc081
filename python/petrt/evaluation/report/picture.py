"""Draws a picture of a reconstruction: three planes, with a column for each volume.

matplotlib is imported inside the functions because it is slow to load. Equal input gives equal bytes with
one version of matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petrt.arrays import Array
from petrt.errors import InputError
from petrt.evaluation.report.figure import DPI, headed, png
from petrt.files.atomic import atomic_write_bytes
from petrt.imaging.affine import check_affine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Kind = Literal["image", "difference", "uncertainty"]

WIDTH_PX = 1200
MAX_INCHES = 14.0  # height of all planes: a long scan gets narrower columns, not a taller picture
HEADER, FOOTER = 0.75, 0.9  # inches above and below the planes
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False}
# Percentile of the display maximum: a few hot voxels (bladder, noise) must not darken the rest.
DISPLAY_PERCENTILE = 99.97
COLOUR_MAPS: dict[Kind, str] = {"image": "gray_r", "difference": "RdBu_r", "uncertainty": "magma"}
# Plane name, the axis it cuts, the axes drawn to the left and upwards, and the letters at its
# sides. Right and anterior are on the viewer's left, the radiological convention.
PLANES = (
    ("axial", 2, 0, 1, "R", "L"),
    ("coronal", 1, 0, 2, "R", "L"),
    ("sagittal", 0, 1, 2, "A", "P"),
)


@dataclass(frozen=True)
class Panel:
    """A volume [X, Y, Z] and its kind.

    ``image``: grey, all with one scale. ``difference``: diverging colours, 0 is white.
    ``uncertainty``: colours from 0 up.
    """

    volume: ArrayLike
    kind: Kind = "image"


def comparison(
    low_dose: ArrayLike,
    output: ArrayLike,
    *,
    uncertainty: ArrayLike | None = None,
    calibrated: bool = False,
    reference: ArrayLike | None = None,
) -> dict[str, Panel]:
    """The usual columns: low-dose, output, [full dose], difference, [uncertainty], each [X, Y, Z].

    The difference is output - reference if there is a reference, else output - low dose; its title
    says which. ``uncertainty`` is a standard deviation. Its title says calibrated if ``calibrated``
    (stats["std"]["calibrated"] of a reconstruction).
    """
    out = np.asarray(output, dtype=np.float32)
    panels = {"low-dose": Panel(low_dose), "output": Panel(out)}
    if reference is None:
        panels["output - low-dose"] = Panel(out - np.asarray(low_dose, np.float32), "difference")
    else:
        panels["full dose"] = Panel(reference)
        panels["output - full dose"] = Panel(out - np.asarray(reference, np.float32), "difference")
    if uncertainty is not None:
        title = "uncertainty (calibrated std)" if calibrated else "std of the samples"
        panels[title] = Panel(uncertainty, "uncertainty")
    return panels


def save_comparison(
    path: str | Path,
    columns: Mapping[str, Panel | ArrayLike],
    *,
    affine: NDArray[np.float64] | None = None,
    centre: Sequence[int] | None = None,
    maximum: float | None = None,
    unit: str = "",
    title: str = "",
    overwrite: bool = False,
) -> None:
    """Write a PNG, 1200 pixels wide, of axial, coronal and sagittal planes of ``columns``.

    ``columns``: title -> Panel, or an array [X, Y, Z] for a grey image; all on one grid. ``affine`` [4, 4]
    in mm gives orientation and voxel size (default: RAS, 1 mm). ``centre``: the voxel, in the arrays' own
    axes, that the planes pass through; default: the centre of activity. ``maximum``: the top of the grey
    scale; default: the 99.97th percentile of the brightest image except the first, a noisy one. ``unit``
    labels the scales. Raises InputError for volumes that don't match or are not finite.
    """
    panels = {n: c if isinstance(c, Panel) else Panel(c) for n, c in columns.items()}
    orientation, voxel_mm = _orientation(affine)
    volumes = {n: _to_ras(p.volume, n, orientation) for n, p in panels.items()}
    shapes = {n: v.shape for n, v in volumes.items()}
    if not volumes or len(set(shapes.values())) > 1:
        raise InputError(f"a picture needs volumes of one shape, got {shapes}")
    images = [volumes[n] for n, p in panels.items() if p.kind == "image"]
    clean = images[1:] or images or list(volumes.values())
    top = maximum or max(float(np.percentile(v, DISPLAY_PERCENTILE)) for v in clean)
    at = _activity_centre(clean[0])
    if centre is not None:
        at = _turned(centre, clean[0].shape, orientation)
    sheet = _Sheet(at, voxel_mm, top if top > 0 else 1.0, unit)
    shown = [(n, volumes[n], p.kind) for n, p in panels.items()]
    atomic_write_bytes(path, png(lambda: _draw(shown, sheet, title)), overwrite=overwrite)


@dataclass(frozen=True)
class _Sheet:
    """Shared by all parts of a picture: the planes' voxel, the voxel size, the top of the grey scale."""

    centre: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    top: float
    unit: str


def _draw(columns: Sequence[tuple[str, Array, Kind]], sheet: _Sheet, title: str) -> Figure:
    """The figure: a row per plane, a column per volume, and a colour bar below each column."""
    from matplotlib.figure import Figure

    extents = [n * mm for n, mm in zip(columns[0][1].shape, sheet.voxel_mm, strict=True)]
    width = WIDTH_PX / DPI
    # All planes have the same scale. The widest fills its column, if the height allows.
    widest = max(extents[left] for _, _, left, *_ in PLANES)
    tallest = sum(extents[up] for _, _, _, up, *_ in PLANES)
    inch_per_mm = min(width / len(columns) / widest, MAX_INCHES / tallest)
    heights = [extents[up] * inch_per_mm for _, _, _, up, *_ in PLANES]
    total = sum(heights) + HEADER + FOOTER
    figure = Figure(figsize=(width, total), dpi=DPI, facecolor="white")
    for j, (name, volume, kind) in enumerate(columns):
        left, top = j / len(columns), total - HEADER
        for plane, height in zip(PLANES, heights, strict=True):
            top -= height
            box = (left, top / total, 0.99 / len(columns), height / total)
            axes = figure.add_axes(box)
            shown = _show_plane(axes, volume, plane, kind, sheet)
        middle = left + 0.5 / len(columns)
        figure.text(middle, 1 - (HEADER - 0.18) / total, name, **CENTRED, fontsize=12)
        bar = figure.add_axes(
            (left + 0.12 / len(columns), 0.62 / total, 0.76 / len(columns), 0.1 / total)
        )
        _add_colour_bar(bar, shown, sheet.unit)
    figure.text(0.5, 1 - 0.2 / total, headed(title), **CENTRED, fontsize=14)
    note = "radiological orientation: the patient's right is on the left"
    figure.text(0.5, 0.1 / total, note, **CENTRED, fontsize=9, color="0.35")
    return figure


def _show_plane(
    axes: Axes, volume: Array, plane: tuple[str, int, int, int, str, str], kind: Kind, sheet: _Sheet
) -> AxesImage:
    """Draw one plane of ``volume`` (RAS) with the letters of its sides."""
    name, cut, left, up, left_letter, right_letter = plane
    # An integer index keeps the order of the other axes, and left < up in every plane.
    picture = np.take(volume, sheet.centre[cut], axis=cut)[::-1].T
    low, high = _limits(volume, kind, sheet.top)
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
    colour = "white" if kind == "uncertainty" else "0.25"
    corner: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 9, "color": colour}
    axes.text(0.02, 0.5, left_letter, ha="left", va="center", **corner)
    axes.text(0.98, 0.5, right_letter, ha="right", va="center", **corner)
    axes.text(0.02, 0.02, name, ha="left", va="bottom", **corner)
    return shown


def _limits(volume: Array, kind: Kind, top: float) -> tuple[float, float]:
    """The ends of the colour scale: 0 to ``top`` for images, robust and symmetric for differences."""
    if kind == "image":
        return 0.0, top
    spread = float(np.percentile(np.abs(volume), DISPLAY_PERCENTILE)) or top
    return (-spread, spread) if kind == "difference" else (0.0, spread)


def _add_colour_bar(axes: Axes, shown: AxesImage, unit: str) -> None:
    """Add a horizontal colour bar with few, short numbers."""
    from matplotlib.ticker import MaxNLocator

    assert axes.figure is not None
    bar = axes.figure.colorbar(shown, cax=axes, orientation="horizontal", ticks=MaxNLocator(3))
    bar.outline.set_linewidth(0.5)
    axes.tick_params(labelsize=9, length=2, pad=2)
    if unit:
        axes.set_xlabel(unit, fontsize=9, labelpad=1, parse_math=False)


def _orientation(
    affine: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """nibabel's orientation of the axes, and the voxel size along RAS x, y, z in mm."""
    from nibabel.orientations import io_orientation

    matrix = np.eye(4) if affine is None else check_affine(affine, "picture")
    orientation = io_orientation(matrix)
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    x, y, z = (float(sizes[np.flatnonzero(orientation[:, 0] == axis)[0]]) for axis in range(3))
    return orientation, (x, y, z)


def _to_ras(volume: ArrayLike, name: str, orientation: NDArray[np.float64]) -> Array:
    """``volume`` with x to the right, y to the front, z up."""
    from nibabel.orientations import apply_orientation

    data = np.asarray(volume, dtype=np.float32)
    if data.ndim != 3 or 0 in data.shape:
        raise InputError(
            f"{name}: a picture needs three axes, got {data.shape}", "choose one frame"
        )
    if not np.isfinite(data).all():
        raise InputError(f"{name}: non-finite voxels cannot be shown")
    return np.asarray(apply_orientation(data, orientation))


def _turned(
    index: Sequence[int], ras_shape: tuple[int, ...], orientation: NDArray[np.float64]
) -> tuple[int, int, int]:
    """A voxel index in the arrays' own axes, converted to RAS."""
    turned = [0, 0, 0]
    for value, (axis, flip) in zip(index, orientation, strict=True):
        size = ras_shape[int(axis)]
        if not 0 <= value < size:
            raise InputError(f"centre {tuple(index)} lies outside the volume")
        turned[int(axis)] = int(value if flip > 0 else size - 1 - value)
    return turned[0], turned[1], turned[2]


def _activity_centre(volume: Array) -> tuple[int, int, int]:
    """The voxel at the centre of the positive activity, or the middle of an empty volume."""
    weight = np.maximum(volume, 0.0, dtype=np.float64)
    total = float(weight.sum())
    if total == 0:
        return volume.shape[0] // 2, volume.shape[1] // 2, volume.shape[2] // 2
    x, y, z = (
        round(float(weight.sum(axis=others) @ np.arange(weight.shape[axis])) / total)
        for axis, others in enumerate(((1, 2), (0, 2), (0, 1)))
    )
    return x, y, z
