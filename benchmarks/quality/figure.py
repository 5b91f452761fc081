"""The figure, like the paper's Fig. 2: a column for each method; image, detail and error map below it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.quality.cases import QualityCase
from benchmarks.quality.scores import hot_lesions
from benchmarks.quality.store import Arrays
from petrt.arrays import Array
from petrt.evaluation.metrics import psnr
from petrt.evaluation.report.figure import png
from petrt.files.atomic import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FULL = "full dose"
NOTICE = "simulated data; not for diagnostic use"
DETAIL = 20  # voxels to either side of the middle of the detail
ERRORS = "magma"
ERROR_TOP = 20.0  # per cent of the full dose's maximum at the top of the error scale
WIDTH_INCHES, DPI = 12.0, 100


def picture_slices(images: Mapping[str, Array], case: QualityCase) -> Arrays:
    """What the figure needs of a case: an axial slice of full dose and images, and where to look closer.

    The slice is the one with most of a hot lesion, or of the activity where there is none.
    """
    marked = case.full if case.labels is None else hot_lesions(case)
    if not marked.any():
        marked = case.full
    z = int(np.argmax(marked.sum(axis=(0, 1), dtype=np.float64)))
    weight = marked[:, :, z].astype(np.float64)
    middle = [
        float(weight.sum(axis=1 - axis) @ np.arange(weight.shape[axis]) / weight.sum())
        for axis in range(2)
    ]
    if case.labels is not None and marked is not case.full:  # one lesion, not the middle of several
        flat = np.argmax(np.bincount(marked[:, :, z].ravel().astype(np.int64))[1:]) + 1
        middle = [float(np.mean(where)) for where in np.nonzero(marked[:, :, z] == flat)]
    slices = {f"slice/{name}": image[:, :, z] for name, image in images.items()}
    return {
        f"slice/{FULL}": case.full[:, :, z],
        **slices,
        "peak": np.array(float(case.full.max())),
        "middle": np.rint(middle).astype(np.int64),
    }


def save_figure(path: Path, arrays: Arrays, columns: list[str], title: str) -> None:
    """Write the figure of ``columns`` (names in ``arrays``, as picture_slices gives them) as a PNG."""
    full = arrays[f"slice/{FULL}"]
    shown = {FULL: full}
    for name in columns:
        image = arrays.get(f"slice/{name}")
        if image is not None and image.shape == full.shape:
            shown[name] = image
    peak, middle = float(arrays["peak"]), arrays["middle"]
    content = png(lambda: _draw(shown, peak, middle, title))
    atomic_write_bytes(path, _few_colours(content), overwrite=True)


def _few_colours(content: bytes) -> bytes:
    """A PNG with a palette of its two colour maps: a third of the size, for a picture in a repository."""
    import matplotlib
    from PIL import Image
    from scipy.spatial import KDTree

    half = np.linspace(0, 1, 128)
    colours = np.concatenate([matplotlib.colormaps[name](half)[:, :3] for name in ("gray", ERRORS)])
    palette = np.rint(255 * colours).astype(np.uint8)
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    found, where = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    _, nearest = KDTree(palette.astype(np.float64)).query(found)
    few = Image.fromarray(nearest[where].reshape(pixels.shape[:2]).astype(np.uint8))
    few.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    few.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _draw(images: Mapping[str, Array], peak: float, middle: Any, title: str) -> Figure:
    from matplotlib.figure import Figure

    full = images[FULL].astype(np.float64)
    head = _window(full > 0.05 * peak, 3)
    detail = tuple(
        slice(
            max(min(int(m), n - DETAIL) - DETAIL, 0), max(min(int(m), n - DETAIL), DETAIL) + DETAIL
        )
        for m, n in zip(middle, full.shape, strict=True)
    )
    rows = [head, detail, head]
    heights = [(s[1].stop - s[1].start) / (s[0].stop - s[0].start) for s in rows]
    cell = WIDTH_INCHES / (len(images) + 0.45)
    total = cell * sum(heights) + 1.0
    figure = Figure(figsize=(WIDTH_INCHES, total), dpi=DPI, facecolor="white")
    shown = None
    for column, (name, image) in enumerate(images.items()):
        error = 100 * np.abs(image - full) / peak
        y = total - 0.62
        for row, (window, height) in enumerate(zip(rows, heights, strict=True)):
            y -= cell * height
            if row == 2 and name == FULL:
                continue
            box = (column * cell, y, 0.98 * cell, 0.98 * cell * height)
            axes = figure.add_axes(
                tuple(v / (total if i % 2 else WIDTH_INCHES) for i, v in enumerate(box))
            )
            axes.set_axis_off()
            values, colours, top = (
                (error, ERRORS, ERROR_TOP) if row == 2 else (image, "gray_r", peak)
            )
            shown = axes.imshow(
                values[window][::-1].T,
                cmap=colours,
                vmin=0,
                vmax=top,
                origin="lower",
                aspect="auto",
            )
        label = name if name == FULL else f"{name}\n{_slice_psnr(image, full, peak):.2f} dB"
        figure.text(
            (column + 0.5) * cell / WIDTH_INCHES,
            1 - 0.36 / total,
            label,
            ha="center",
            va="top",
            fontsize=8,
            linespacing=1.1,
            parse_math=False,
        )
    _colour_bar(figure, shown, cell, heights, total)
    figure.text(0.5, 1 - 0.06 / total, f"{title} ({NOTICE})", ha="center", va="top", fontsize=11)
    note = (
        "rows: axial slice, detail, |error| against full dose; PSNR of this slice; "
        "the patient's right is on the left"
    )
    figure.text(0.5, 0.06 / total, note, ha="center", va="bottom", fontsize=8, color="0.35")
    return figure


def _colour_bar(
    figure: Figure, shown: Any, cell: float, heights: list[float], total: float
) -> None:
    """The error's scale, right of the last row."""
    y = total - 0.62 - cell * sum(heights)
    left = WIDTH_INCHES - 0.4 * cell
    box = figure.add_axes(
        (
            left / WIDTH_INCHES,
            (y + 0.1 * cell) / total,
            0.08 * cell / WIDTH_INCHES,
            cell * (heights[2] - 0.2) / total,
        )
    )
    bar = figure.colorbar(shown, cax=box)
    bar.ax.tick_params(labelsize=7, length=2, pad=1)
    bar.set_label("% of maximum", fontsize=7, labelpad=1)


def _slice_psnr(image: Array, full: Array, peak: float) -> float:
    inside = full > 0.05 * peak
    return psnr(image[inside].astype(np.float64), full[inside], peak)


def _window(inside: Any, margin: int) -> tuple[slice, slice]:
    lines = [np.flatnonzero(inside.any(axis=1 - axis)) for axis in range(2)]
    x, y = (slice(max(int(line[0]) - margin, 0), int(line[-1]) + 1 + margin) for line in lines)
    return slice(x.start, min(x.stop, inside.shape[0])), slice(
        y.start, min(y.stop, inside.shape[1])
    )
