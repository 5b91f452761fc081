"""The grid of a DICOM series: the order of its slices and the affine, from each slice's header.

DICOM coordinates are millimetres to the patient's left, back and head (LPS); affines here lead to right,
front and head (RAS). The equation of the columns is in DICOM PS3.3 C.7.6.2.1.1.
"""

from __future__ import annotations

import logging

import numpy as np

from petrt.errors import InputError
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


def series_grid(headers: list[Header], name: str) -> tuple[list[int], np.ndarray]:
    """The order of the slices along their normal, and the affine float64 [4, 4] in mm.

    Voxel (i, j, k) is column i, row j of the k-th slice in that order. Slightly uneven spacing is
    treated as even, with a log line. Raises InputError for a missing field, for slices that differ in
    orientation or pixel size, share a place, are missing, too unevenly spaced, or shifted sideways, and
    for fewer slices than the header states.
    """
    row, column, (down, across) = _plane(headers, name)
    normal = np.cross(row, column)
    positions = np.array([header.numbers("ImagePositionPatient", 3) for header in headers])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    spacing = _spacing(positions @ normal, name)
    _check_count(headers, name)
    _check_spacing(headers, spacing, name)
    offsets = positions - positions[0]
    sideways = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max()
    if sideways > _DRIFT * min(down, across):
        raise InputError(
            f"{name}: its slices shift sideways by up to {sideways:.3g} mm (a sheared grid)",
            "resample it first",
        )
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * across, column * down, normal * spacing])
    affine[:3, 3] = positions[0]
    return [int(index) for index in order], _LPS_TO_RAS @ affine


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


def _spacing(along: np.ndarray, name: str) -> float:
    """The mean distance in mm of the sorted positions ``along`` the normal."""
    if len(along) < 2:
        raise InputError(f"{name}: a single slice of unknown thickness", "give all slices")
    gaps = np.diff(along)
    shared = int(np.count_nonzero(gaps < _SAME_MM))
    if shared:
        raise InputError(
            f"{name}: {len(along)} slices at {len(along) - shared} places: duplicates, or several "
            "time frames or gates",
            "keep one slice for each place",
        )
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


def _check_count(headers: list[Header], name: str) -> None:
    """Compare with the number of slices in the header: slices missing at an end leave no gap."""
    stated = max(
        (
            int(header.numbers("NumberOfSlices")[0])
            for header in headers
            if header.has("NumberOfSlices")
        ),
        default=0,
    )
    if stated > len(headers):
        raise InputError(
            f"{name}: {len(headers)} slices, DICOM field NumberOfSlices is {stated}: some are missing",
            "copy or export the series again",
        )
    if 0 < stated < len(headers):
        logger.warning(
            "%s: %d slices, DICOM field NumberOfSlices is %d", name, len(headers), stated
        )
