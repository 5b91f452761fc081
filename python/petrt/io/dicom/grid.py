"""The grid of a DICOM series: the order of its slices and the affine, from each slice's header.

DICOM coordinates are millimetres to the patient's left, back and head (LPS); affines here lead to right,
front and head (RAS). The equation of the columns is in DICOM PS3.3 C.7.6.2.1.1.
"""

from __future__ import annotations

import logging

import numpy as np

from petrt.errors import InputError
from petrt.io.dicom.frames import by_frame
from petrt.io.dicom.header import Header

logger = logging.getLogger(__name__)

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Slices closer than this are at the same place.
_SAME_MM = 0.01
# Tolerance, in slice distances, of the distance between slices and of a slice's place on the even
# grid. GE writes 3.19, 3.27 and 3.29 mm in one series, a deviation of 2.5 %.
_UNEVEN = 0.1
_MISPLACED = 0.25
# Largest sideways shift over the whole series, in pixels; with a larger one the grid is sheared.
_DRIFT = 0.1
_UNIT_VECTOR = 1e-3
# Relative difference of the stated distance of slices; less is GE's uneven spacing.
_OTHER_SPACING = 0.03


def series_grid(headers: list[Header], name: str) -> tuple[list[list[int]], np.ndarray]:
    """The slices of each frame along their normal, as indices [frame][k], and the affine [4, 4] in mm.

    Voxel (i, j, k) is column i, row j of the k-th slice in that order. Slightly uneven spacing is
    treated as even, with a log line. Raises InputError for a missing field, for slices that differ in
    orientation or pixel size, share a place without being frames, are missing, too unevenly spaced, or
    shifted sideways, and for fewer slices than the header states.
    """
    row, column, (down, across) = _plane(headers, name)
    normal = np.cross(row, column)
    positions = np.array([header.numbers("ImagePositionPatient", 3) for header in headers])
    along = positions @ normal
    place_of = _places(along)
    frames = by_frame(headers, place_of, name)
    sorted_positions = positions[frames[0]]
    _check_count(headers, len(frames[0]), len(frames), name)
    spacing = _spacing(sorted_positions @ normal, headers, name)
    _check_spacing(headers, spacing, name)
    offsets = positions - sorted_positions[0]
    sideways = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max()
    if sideways > _DRIFT * min(down, across):
        raise InputError(
            f"{name}: its slices shift sideways by up to {sideways:.3g} mm (a sheared grid)",
            "resample it first",
        )
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * across, column * down, normal * spacing])
    affine[:3, 3] = sorted_positions[0]
    return frames, _LPS_TO_RAS @ affine


def _places(along: np.ndarray) -> np.ndarray:
    """The number of each slice's place: slices less than _SAME_MM from the next one share it."""
    order = np.argsort(along, kind="stable")
    numbers = np.concatenate([[0], np.cumsum(np.diff(along[order]) >= _SAME_MM)])
    place_of = np.empty(len(along), int)
    place_of[order] = numbers
    return place_of


def _plane(headers: list[Header], name: str) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Unit vectors along a row and down a column, and the distances in mm (of rows, of columns)."""
    orientations = np.array([header.numbers("ImageOrientationPatient", 6) for header in headers])
    pixels = np.array([header.numbers("PixelSpacing", 2) for header in headers])
    if np.abs(orientations - orientations[0]).max() > _UNIT_VECTOR:
        raise InputError(f"{name}: its slices differ in orientation", "give one volume")
    if not np.allclose(pixels, pixels[0], rtol=1e-4, atol=0):
        raise InputError(f"{name}: its slices differ in pixel size", "give one volume")
    if pixels.min() <= 0:
        raise InputError(f"{name}: DICOM field PixelSpacing is not above 0", "repair it")
    row, column = orientations[0, :3], orientations[0, 3:]
    faults = [np.linalg.norm(row) - 1, np.linalg.norm(column) - 1, row @ column]
    if np.abs(faults).max() > _UNIT_VECTOR:
        raise InputError(
            f"{name}: DICOM field ImageOrientationPatient is not two orthogonal unit vectors",
            "repair it",
        )
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column), (float(pixels[0, 0]), float(pixels[0, 1]))


def _spacing(along: np.ndarray, headers: list[Header], name: str) -> float:
    """The mean distance in mm of the sorted positions ``along`` the normal; of one slice its thickness."""
    if len(along) < 2:
        thickness = max(
            (h.numbers("SliceThickness")[0] for h in headers if h.has("SliceThickness")), default=0
        )
        if thickness <= 0:
            raise InputError(f"{name}: a single slice of unknown thickness", "give all slices")
        logger.info("%s: a single slice, of SliceThickness %.4g mm", name, thickness)
        return float(thickness)
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    if gaps[worst] > 1.5 * usual:
        raise InputError(
            f"{name}: a slice is missing: {gaps[worst]:.4g} mm between slices {worst + 1} and "
            f"{worst + 2} of {len(along)}, else {usual:.4g} mm",
            "copy or export the series again",
        )
    mean = float(along[-1] - along[0]) / (len(along) - 1)
    misplaced = np.abs(along - along[0] - mean * np.arange(len(along))).max()
    if abs(gaps[worst] - usual) > _UNEVEN * usual or misplaced > _MISPLACED * mean:
        raise InputError(
            f"{name}: slices {gaps.min():.4g} to {gaps.max():.4g} mm apart, too uneven for one grid",
            "resample it first",
        )
    if np.ptp(gaps) > _SAME_MM:
        logger.info(
            "%s: slices %.4g to %.4g mm apart are taken as %.5g mm",
            *(name, gaps.min(), gaps.max(), mean),
        )
    return mean


def _check_spacing(headers: list[Header], spacing: float, name: str) -> None:
    """Log a warning if the header states another distance of slices than their positions have."""
    field = "SpacingBetweenSlices"
    stated = {abs(header.numbers(field)[0]) for header in headers if header.has(field)}
    for other in sorted(stated):
        if abs(other / spacing - 1) > _OTHER_SPACING:
            logger.warning(
                "%s: slices are %.4g mm apart by their positions, which are used; DICOM field %s is %.4g",
                *(name, spacing, field, other),
            )
            return


def _check_count(headers: list[Header], slices: int, frames: int, name: str) -> None:
    """Compare with the header's numbers of slices and frames: what is missing at an end leaves no gap."""
    stated = _largest(headers, "NumberOfSlices")
    if stated > slices:
        raise InputError(
            f"{name}: {slices} slices, DICOM field NumberOfSlices is {stated}: some are missing",
            "copy or export the series again",
        )
    if 0 < stated < slices:
        logger.warning("%s: %d slices, DICOM field NumberOfSlices is %d", name, slices, stated)
    # Whole-body series of GE count their beds in NumberOfTimeSlices.
    for kind, field in (("DYNAMIC", "NumberOfTimeSlices"), ("GATED", "NumberOfTimeSlots")):
        several = _largest([h for h in headers if kind in h.words("SeriesType")], field)
        if several > 1 and kind == "GATED":
            several *= max(1, _largest(headers, "NumberOfRRIntervals"))
        if several > 1 and several != frames:
            logger.warning(
                "%s: DICOM field %s is %d, frames here: %d", name, field, several, frames
            )


def _largest(headers: list[Header], field: str) -> int:
    return max(
        (int(header.numbers(field)[0]) for header in headers if header.has(field)), default=0
    )
