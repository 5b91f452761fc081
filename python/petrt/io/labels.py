"""Label maps: regions on a volume's grid, with names from a file beside them."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from petrt.arrays import plain
from petrt.errors import InputError
from petrt.files.json_text import parsed
from petrt.files.names import printable, shown
from petrt.files.system import reading
from petrt.io import nifti
from petrt.io.volume import Volume

# Voxels of two grids may lie this far apart, in mm.
SAME_PLACE_MM = 0.01
# A table of names with more bytes is something else.
LARGEST_NAMES = 1 << 20


@dataclass(frozen=True)
class LabelMap:
    """Whole numbers [X, Y, Z] on a volume's grid, 0 outside; ``names`` of labels, where there are some."""

    data: NDArray[Any]
    names: Mapping[int, str]


def label_map(
    labels: Any, shape: tuple[int, ...], affine_mm: NDArray[np.float64] | None
) -> LabelMap:
    """The label map of a volume of ``shape`` [X, Y, Z] with ``affine_mm``, which a bare array lacks.

    ``labels``: the path of a NIfTI file, a nibabel image or an array. A file or image may have its axes in
    another order or direction, as long as its voxels are the volume's. Names come from the table beside a
    file (``names_beside``). Raises InputError for another grid and for labels that are no whole numbers.
    """
    names: Mapping[int, str] = {}
    if isinstance(labels, str | os.PathLike):
        volume, name = nifti.read(labels), shown(labels)
        names = names_beside(Path(labels))
        data = _on_grid(volume, affine_mm, name)
    elif hasattr(labels, "dataobj") and hasattr(labels, "affine"):
        name = "labels"
        data = _on_grid(nifti.from_image(labels), affine_mm, name)
    else:
        name, data = "labels", plain(labels, "labels")
    if data.shape != tuple(shape):
        raise InputError(
            f"{name}: a grid of {data.shape}, the volume's is {tuple(shape)}",
            "resample the labels to the volume, by nearest neighbour",
        )
    if (
        data.dtype.kind not in "iufb"
        or not np.isfinite(data).all()
        or (data != np.rint(data)).any()
    ):
        raise InputError(f"{name}: labels must be whole numbers", "is this an image instead?")
    if not data.any():
        raise InputError(f"{name}: the label map is empty: every voxel is 0")
    return LabelMap(data.astype(np.int64), names)


def names_beside(path: Path) -> dict[int, str]:
    """Names of labels from LABELS.tsv with the columns ``index`` and ``name`` (BIDS, as dseg.tsv), or from
    LABELS.json, {"1": "grey matter"}; none where neither exists. Raises InputError for a damaged one."""
    stem = path.name.lower().removesuffix(".gz").removesuffix(".nii")
    stem = path.name[: len(stem)]
    table, mapping = (path.with_name(f"{stem}{end}") for end in (".tsv", ".json"))
    if table.is_file():
        rows = csv.DictReader(_text(table).splitlines(), delimiter="\t")
        if not {"index", "name"} <= set(rows.fieldnames or ()):
            raise InputError(f"{shown(table)}: no columns index and name", "move it away")
        return _names(table, [(row["index"], row["name"]) for row in rows])
    if mapping.is_file():
        try:
            content = parsed(_text(mapping))
        except ValueError as error:
            raise InputError(f"{shown(mapping)}: no JSON", "move it away") from error
        entries = content.items() if isinstance(content, dict) else ()
        # A sidecar of BIDS has words as keys, and names no label.
        return _names(mapping, [(k, v) for k, v in entries if k.lstrip("-").isdigit()])
    return {}


def _names(path: Path, rows: list[tuple[Any, Any]]) -> dict[int, str]:
    try:
        return {int(index): printable(str(name or "")) for index, name in rows}
    except (TypeError, ValueError) as error:
        raise InputError(f"{shown(path)}: an index is no whole number", "correct it") from error


def _text(path: Path) -> str:
    with reading(path):
        if path.stat().st_size > LARGEST_NAMES:
            raise InputError(f"{shown(path)}: too large for names of labels", "move it away")
        try:
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{shown(path)}: no text in UTF-8", "move it away") from error


def _on_grid(volume: Volume, affine_mm: NDArray[np.float64] | None, name: str) -> NDArray[Any]:
    """The labels with their axes turned to those of ``affine_mm``, if their voxels lie where its are."""
    data = (
        volume.data[..., 0] if volume.data.ndim == 4 and volume.data.shape[3] == 1 else volume.data
    )
    if data.ndim != 3:
        raise InputError(f"{name}: labels of several frames", "give one label map")
    if affine_mm is None:
        return data
    turn = ornt_transform(io_orientation(volume.affine_mm), io_orientation(affine_mm))
    turned = volume.affine_mm @ inv_ornt_aff(turn, data.shape)
    data = apply_orientation(data, turn)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in data.shape], [1])).reshape(4, -1)
    apart = np.abs((turned - affine_mm) @ corners).max()
    if apart > SAME_PLACE_MM:
        raise InputError(
            f"{name}: its voxels lie up to {apart:.3g} mm away from the volume's",
            "resample the labels to the volume, by nearest neighbour",
        )
    return data
