"""Volumes of a page: cropped to the body, rebinned where they are large, quantised, as NIfTI in base64."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.evaluation.report.case import Case, Kind, limits, window_top

MOST_BYTES = 11_500_000  # of all layers in base64; with the viewer a page stays below 15 MB
BYTES_PER_VOXEL = 1.0  # a noisy layer in base64; the first guess, checked afterwards
LEVELS = 256  # quantisation steps of a window
BODY, MARGIN_MM = 0.02, 12.0  # of the window: what is kept, with this much air around it


@dataclass(frozen=True)
class Layer:
    """One volume of a page; ``low`` and ``high`` are its window. ``data``: gzipped NIfTI in base64."""

    name: str
    title: str
    kind: Kind
    low: float
    high: float
    data: str

    @property
    def step(self) -> float:
        """Values are rounded to whole multiples of it."""
        return (self.high - self.low) / LEVELS


@dataclass(frozen=True)
class Layers:
    """The layers of a case; ``bins``: voxels that were averaged along x, y and z into one of ``voxel_mm``;
    ``extent_mm``: of the box that is shown."""

    each: tuple[Layer, ...]
    bins: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]


def layers_of(case: Case, most_bytes: int = MOST_BYTES) -> Layers:
    """The layers of a ``case`` in RAS: input, output, [coarse], [std], difference, [full dose, error].

    All have one grid, and together at most ``most_bytes``: voxels are averaged until they have.
    """
    top = window_top(case.output if case.reference is None else case.reference)
    box = body_box(case, BODY * top)
    volumes = [(name, title, kind, volume[box]) for name, title, kind, volume in _volumes(case)]
    shape, size = volumes[0][3].shape, case.voxel_mm
    bins = [1, 1, 1]
    while _voxels(shape, bins) * len(volumes) * BYTES_PER_VOXEL > 1.3 * most_bytes:
        _coarsen(bins, shape, size)
    start = np.array([each.start for each in box], np.float64)
    while True:
        affine = _binned_affine(case.affine, start, bins)
        layers = tuple(
            _layer(name, title, kind, binned(volume, bins), affine, top)
            for name, title, kind, volume in volumes
        )
        if sum(len(layer.data) for layer in layers) <= most_bytes:
            x, y, z = (mm * n for mm, n in zip(size, bins, strict=True))
            a, b, c = (mm * n for mm, n in zip(size, shape, strict=True))
            return Layers(layers, (bins[0], bins[1], bins[2]), (x, y, z), (a, b, c))
        _coarsen(bins, shape, size)


def body_box(case: Case, above: float) -> tuple[slice, slice, slice]:
    """The box around what is brighter than ``above`` in output or reference, with a margin of air."""
    inside = case.output > above
    if case.reference is not None:
        inside |= case.reference > above
    if not inside.any():
        inside = np.ones_like(inside)
    box = []
    for axis, size in enumerate(case.voxel_mm):
        others = tuple(each for each in range(3) if each != axis)
        line, extra = np.flatnonzero(inside.any(axis=others)), math.ceil(MARGIN_MM / size)
        box.append(
            slice(max(int(line[0]) - extra, 0), min(int(line[-1]) + 1 + extra, inside.shape[axis]))
        )
    return box[0], box[1], box[2]


def binned(volume: Array, bins: Sequence[int]) -> Array:
    """``volume`` [X, Y, Z] averaged over blocks of ``bins`` voxels; voxels of an incomplete block are left
    out."""
    if tuple(bins) == (1, 1, 1):
        return volume
    a, b, c = bins
    x, y, z = (n // each for n, each in zip(volume.shape, bins, strict=True))
    blocks = volume[: x * a, : y * b, : z * c].reshape(x, a, y, b, z, c)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float64), np.float32)


def _volumes(case: Case) -> list[tuple[str, str, Kind, Array]]:
    found: list[tuple[str, str, Kind, Array]] = [
        ("input", case.base, "image", case.input),
        ("output", "output", "image", case.output),
    ]
    if case.coarse is not None:
        found.append(("coarse", "coarse", "image", case.coarse))
    if case.std is not None:
        title = "uncertainty" if case.calibrated else "std of the samples"
        found.append(("std", title, "uncertainty", case.std))
    found.append(("difference", f"output − {case.base}", "difference", case.output - case.input))
    if case.reference is not None and case.base == "input":
        found.append(("reference", "full dose", "image", case.reference))
        error = case.output - case.reference
        found.append(("error", "output − full dose", "difference", error))
    return found


def _layer(
    name: str, title: str, kind: Kind, volume: Array, affine: NDArray[np.float64], top: float
) -> Layer:
    low, high = limits(kind, top)
    return Layer(name, title, kind, low, high, _encoded(volume, affine, (high - low) / LEVELS))


def _encoded(volume: Array, affine: NDArray[np.float64], step: float) -> str:
    """A gzipped NIfTI of 16 bit whose voxels are whole multiples of ``step``."""
    whole = np.clip(np.rint(volume / np.float32(step)), -32767, 32767).astype("<i2")
    header = Nifti1Header(endianness="<")
    header.set_data_dtype(np.int16)
    header.set_data_shape(volume.shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, code="aligned")
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    header["scl_slope"], header["scl_inter"] = step, 0.0
    header["magic"], header["vox_offset"] = b"n+1", 352
    header["descrip"] = b"petrt report; not for diagnostic use"
    content = header.binaryblock + bytes(4) + whole.tobytes(order="F")
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")


def _voxels(shape: Sequence[int], bins: Sequence[int]) -> int:
    return math.prod(max(n // each, 1) for n, each in zip(shape, bins, strict=True))


def _coarsen(bins: list[int], shape: Sequence[int], voxel_mm: Sequence[float]) -> None:
    """One voxel more along the axis with the finest bins, of those that are long enough."""
    sizes = [
        mm * n if size > n else math.inf for mm, n, size in zip(voxel_mm, bins, shape, strict=True)
    ]
    bins[int(np.argmin(sizes))] += 1


def _binned_affine(
    affine: NDArray[np.float64], start: NDArray[np.float64], bins: Sequence[int]
) -> NDArray[np.float64]:
    """The affine of blocks that begin at voxel ``start``; a block's centre is the mean of its voxels'."""
    step = np.diag([*map(float, bins), 1.0])
    step[:3, 3] = start + (np.asarray(bins, np.float64) - 1) / 2
    return np.asarray(affine @ step)
