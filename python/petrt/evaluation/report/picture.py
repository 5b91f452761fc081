"""Draws a picture of a reconstruction: three planes, with a column for each volume.

matplotlib is imported inside the functions because it is slow to load. Equal input gives equal bytes with
one version of matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import ArrayLike, NDArray

from petrt.arrays import Array
from petrt.errors import InputError
from petrt.evaluation.report.case import Kind, activity_centre, window_top
from petrt.evaluation.report.figure import DPI, png
from petrt.evaluation.report.planes import WIDTH_PX, Sheet, draw_sheet
from petrt.files.atomic import atomic_write_bytes
from petrt.imaging.affine import check_affine


@dataclass(frozen=True)
class Panel:
    """A volume [X, Y, Z] and its kind.

    ``image``: grey, all with one scale. ``difference``: diverging colours, 0 is white.
    ``uncertainty``: colours from 0 up.
    """

    volume: ArrayLike
    kind: Kind = "image"


def comparison(
    source: ArrayLike,
    output: ArrayLike,
    *,
    uncertainty: ArrayLike | None = None,
    calibrated: bool = False,
    reference: ArrayLike | None = None,
) -> dict[str, Panel]:
    """The usual columns: input, output, [full dose], difference, [uncertainty], each [X, Y, Z].

    The difference is output - reference if there is a reference, else output - input; its title
    says which. ``uncertainty`` is a standard deviation. Its title says calibrated if ``calibrated``
    (stats["std"]["calibrated"] of a reconstruction).
    """
    out = np.asarray(output, dtype=np.float32)
    panels = {"input": Panel(source), "output": Panel(out)}
    if reference is None:
        panels["output - input"] = Panel(out - np.asarray(source, np.float32), "difference")
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
    overwrite: bool = False,
    **options: Any,
) -> None:
    """Write the picture of ``comparison_png``, which takes ``options``."""
    atomic_write_bytes(path, comparison_png(columns, **options), overwrite=overwrite)


def comparison_png(
    columns: Mapping[str, Panel | ArrayLike],
    *,
    affine: NDArray[np.float64] | None = None,
    centre: Sequence[int] | None = None,
    maximum: float | None = None,
    unit: str = "",
    title: str = "",
    notes: Sequence[str] = (),
    ring_mm: float | None = None,
    width_px: int | None = None,
) -> bytes:
    """A PNG, 1200 pixels wide or ``width_px``, of axial, coronal and sagittal planes of ``columns``.

    ``columns``: title (of one or two lines) -> Panel, or an array [X, Y, Z] for a grey image; all on one
    grid. ``affine`` [4, 4] in mm gives orientation and voxel size (default: RAS, 1 mm). ``centre``: the
    voxel, in the arrays' own axes, that the planes pass through; default: the centre of activity.
    ``maximum``: the top of the grey scale; default: a fixed step (``window_top``) of the brightest image
    except the first, a noisy one. Differences have +- a fifth of it, uncertainties a tenth. ``unit`` labels
    the scales. ``notes``: what the picture is of, on the lines below the title. ``ring_mm``: radius of a ring
    around ``centre``. Raises InputError for volumes that don't match or are not finite.
    """
    panels = {n: c if isinstance(c, Panel) else Panel(c) for n, c in columns.items()}
    orientation, voxel_mm = _orientation(affine)
    volumes = {n: _to_ras(p.volume, n, orientation) for n, p in panels.items()}
    shapes = {n: v.shape for n, v in volumes.items()}
    if not volumes or len(set(shapes.values())) > 1:
        raise InputError(f"a picture needs volumes of one shape, got {shapes}")
    images = [volumes[n] for n, p in panels.items() if p.kind == "image"]
    clean = images[1:] or images or list(volumes.values())
    at = activity_centre(clean[0])
    if centre is not None:
        at = _turned(centre, clean[0].shape, orientation)
    place = None
    if affine is not None:
        to_ras = np.asarray(affine) @ inv_ornt_aff(orientation, np.asarray(_shape_of(panels)))
        place = to_ras[:3, :3] @ at + to_ras[:3, 3]
    top = maximum or window_top(*clean)
    sheet = Sheet(at, voxel_mm, top, unit, place, ring_mm)
    shown = [(n, volumes[n], p.kind) for n, p in panels.items()]
    dpi = None if width_px is None else DPI * width_px / WIDTH_PX
    return png(lambda: draw_sheet(shown, sheet, title, notes), dpi)


def _shape_of(panels: Mapping[str, Panel]) -> tuple[int, ...]:
    """The shape of the arrays in their own axes."""
    return np.shape(next(iter(panels.values())).volume)


def _orientation(
    affine: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """nibabel's orientation of the axes, and the voxel size along RAS x, y, z in mm."""
    matrix = np.eye(4) if affine is None else check_affine(affine, "picture")
    orientation = io_orientation(matrix)
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    x, y, z = (float(sizes[np.flatnonzero(orientation[:, 0] == axis)[0]]) for axis in range(3))
    return orientation, (x, y, z)


def _to_ras(volume: ArrayLike, name: str, orientation: NDArray[np.float64]) -> Array:
    """``volume`` with x to the right, y to the front, z up."""
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
