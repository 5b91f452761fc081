"""Reads a PET volume from a DICOM series: a folder, files, a DICOMDIR or a zip archive.

Each slice has its own slope and position. The values stay in the unit of the file. A series that is
incomplete, or no PET, or not quantitative raises an InputError of one line (exit code 3). pydicom is
imported on use.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from petrt.arrays import grid_text
from petrt.errors import InputError
from petrt.files.hashes import joined_sha256
from petrt.io.dicom import checks, multiframe
from petrt.io.dicom.catalogue import SeriesInfo, Wanted, choose, chosen, inspect
from petrt.io.dicom.files import Source, dicom_files
from petrt.io.dicom.grid import series_grid
from petrt.io.dicom.header import Header, quiet, read_headers
from petrt.io.dicom.origin import PetSeries, Plane
from petrt.io.dicom.pixels import check_pixels, stored_values
from petrt.io.dicom.timing import acquired, decay_factors
from petrt.io.header import affine_header, check_shape
from petrt.io.notes import with_warnings
from petrt.io.volume import MAX_VOXELS, Nonfinite, Volume, VoxelStats, as_float32, count_voxels

__all__ = ["SeriesInfo", "inspect", "look", "read", "series_uids", "sha256"]

logger = logging.getLogger(__name__)

# Frames whose starts are this near to an even grid, relative to its step, have one repetition time.
_EVEN_FRAMES = 0.01


def series_uids(source: Source, wanted: Wanted = None) -> list[str]:
    """The UIDs of the PET series in ``source``, or those of ``wanted`` that are there. Raises InputError."""
    with quiet(), dicom_files(source) as files:
        return chosen(read_headers(files), wanted)


def look(
    source: Source,
    *,
    series: Wanted = None,
    force_units: bool = False,
    max_voxels: int = MAX_VOXELS,
) -> Volume:
    """A series as ``read`` gives it, but with an empty array of its shape without memory (all 0).

    Headers are checked, pixels are not read. Raises InputError.
    """
    with quiet(), dicom_files(source) as files:
        layout = _layout(*choose(read_headers(files), series), force_units, max_voxels)
    nothing = np.broadcast_to(np.float32(0), layout.shape)
    return layout.volume(nothing, VoxelStats(), source)


@with_warnings
def read(
    source: Source,
    *,
    series: Wanted = None,
    force_units: bool = False,
    max_voxels: int = MAX_VOXELS,
    nonfinite: Nonfinite = "refuse",
) -> Volume:
    """The volume of one series: float32 [X, Y, Z], or [X, Y, Z, T] for times or gates, in the file's unit.

    x is along rows, z along the slices' normal. ``series`` is the UID of the series to read, or several of
    which one is there; without it the only PET series is read. ``force_units`` accepts values that are
    not quantitative. Raises InputError. All headers, ``max_voxels`` and the files' sizes are checked
    before anything large is allocated. ``Volume.series`` names the file of each slice.
    """
    with quiet(), dicom_files(source) as files:
        layout = _layout(*choose(read_headers(files), series), force_units, max_voxels)
        data = _values(layout)
    volume = layout.volume(data, count_voxels(data, layout.name, nonfinite), source)
    # Without a name: the folder may have that of its patient.
    logger.debug("read a %s: %s", volume.source, grid_text(data.shape, volume.voxel_mm))
    return volume


def sha256(source: Source, series: Wanted = None) -> str:
    """SHA-256 of a series: of the hashes of its files in ascending order, so that names do not count."""
    with quiet(), dicom_files(source) as files:
        _, headers = choose(read_headers(files), series)
        hashes = []
        for header in headers:
            digest = hashlib.sha256()
            with header.file.open() as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
            hashes.append(digest.hexdigest())
    return joined_sha256(sorted(hashes))


@dataclass(frozen=True)
class _Layout:
    """A checked series before its pixels are read: ``shape`` of the volume, and all that comes with it."""

    name: str
    series: PetSeries
    affine: np.ndarray
    shape: tuple[int, ...]

    def volume(self, data: np.ndarray, stats: VoxelStats, source: Source) -> Volume:
        path = Path(source) if isinstance(source, str | os.PathLike) else None
        header = affine_header(self.affine, self.shape)
        if step := _frame_step(self.series):
            header["pixdim"][4] = step
            header.set_xyzt_units("mm", "sec")
        several = f" in {self.shape[3]} frames" if len(self.shape) == 4 else ""
        units = self.series.units or "absent"
        summary = f"DICOM PET series, {self.shape[2]} slices{several}, units {units}"
        return Volume(data, self.affine, header, stats, path, summary, self.series)


def _layout(uid: str, headers: list[Header], force_units: bool, max_voxels: int) -> _Layout:
    """Check all headers of a series and put its slices in order. Raises InputError."""
    name = f"series {uid}"
    checks.check_kind(headers, name)
    sizes = {check_pixels(header, multiframe.count(header)) for header in headers}
    if len(sizes) > 1:
        several = ", ".join(f"{columns} x {rows}" for rows, columns in sorted(sizes))
        raise InputError(f"{name}: its slices differ in size: {several}", "give one volume")
    ((rows, columns),) = sizes
    headers = _without_copies(headers, name)
    total = sum(map(multiframe.count, headers))
    check_shape((columns, rows, total), name, max_voxels)
    planes = _planes(headers)
    fields = [plane.header for plane in planes]
    checks.check_one_scan(fields, name)
    units = checks.check_units(fields, name, force_units)
    for header in fields:
        checks.slope(header)
    frames, affine = series_grid(fields, name)
    shape = (columns, rows, len(frames[0]), len(frames))[: 4 if len(frames) > 1 else 3]
    on_one_scale = tuple(_on_one_scale([planes[n] for n in frame], units, name) for frame in frames)
    return _Layout(name, PetSeries(uid, units, on_one_scale), affine, shape)


def _planes(headers: list[Header]) -> list[Plane]:
    planes = []
    for header in headers:
        if header.text("SOPClassUID") in multiframe.MULTI_FRAME:
            frames = multiframe.frames_of(header)
            planes += [Plane(frame, index) for index, frame in enumerate(frames)]
        else:
            planes.append(Plane(header))
    return planes


def _on_one_scale(planes: Sequence[Plane], units: str, name: str) -> tuple[Plane, ...]:
    """The slices of a frame with the factors that bring them to one clock and one scale."""
    headers = [plane.header for plane in planes]
    decay, counts = decay_factors(headers, name), checks.count_factors(headers, units, name)
    return tuple(
        plane if a * b == 1 else replace(plane, factor=a * b)
        for plane, a, b in zip(planes, decay, counts, strict=True)
    )


def _without_copies(headers: list[Header], name: str) -> list[Header]:
    """The files without copies of the same bytes, such as those of a folder that lies in itself.

    Raises InputError for two different files with one SOPInstanceUID.
    """
    uids = Counter(header.text("SOPInstanceUID") for header in headers)
    seen: dict[str, bytes] = {}
    kept = []
    for header in headers:
        uid = header.text("SOPInstanceUID")
        if not uid or uids[uid] == 1:
            kept.append(header)
            continue
        with header.file.open() as stream:
            content = hashlib.sha256(stream.read()).digest()
        if seen.setdefault(uid, content) != content:
            raise InputError(
                f"{header.label}: another file has the same SOPInstanceUID and other content",
                "keep the right one of the two",
            )
        if seen[uid] is content:
            kept.append(header)
    if len(kept) < len(headers):
        copies = len(headers) - len(kept)
        logger.warning("%s: %d files are copies of others and are skipped", name, copies)
    return kept


def _values(layout: _Layout) -> np.ndarray:
    """The volume, read slice by slice into one array."""
    rows, columns = layout.shape[1], layout.shape[0]
    # In this memory order a slice is contiguous, with x fastest, as in the file.
    data = np.empty(layout.shape, np.float32, order="F")
    whole = data.reshape(*layout.shape[:3], -1, order="F")
    places: dict[int, list[tuple[Plane, int, int]]] = {}
    for t, frame in enumerate(layout.series.frames):
        for k, plane in enumerate(frame):
            places.setdefault(id(plane.header.file), []).append((plane, k, t))
    for of_file in places.values():
        of_file.sort(key=lambda place: place[0].index)
        header = of_file[0][0].header
        indices = [plane.index for plane, _, _ in of_file]
        stored = stored_values(header, indices, rows, columns)
        for (plane, k, t), values in zip(of_file, stored, strict=True):
            scaled = as_float32(values.reshape(-1), plane.factor * checks.slope(plane.header), 0.0)
            whole[:, :, k, t] = scaled.reshape(rows, columns).T
    return data


def _frame_step(series: PetSeries) -> float:
    """The time in s from frame to frame, if it is the same for all; else 0, as for gates."""
    starts = [acquired(frame[0].header) for frame in series.frames]
    if len(starts) < 2 or None in starts:
        return 0.0
    steps = np.diff(np.array(starts, float))
    step = float(steps.mean())
    return step if step > 0 and np.abs(steps - step).max() <= _EVEN_FRAMES * step else 0.0
