"""Reads a PET volume from a DICOM series with one slice per file: a folder, a list of files, or a zip.

Only complete series of original PET slices in Bq/ml are read, each slice with its own slope and position.
Anything else raises an InputError of one line (exit code 3). pydicom is imported on use.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from petrt.errors import InputError, way
from petrt.io.dicom.files import Source, dicom_files
from petrt.io.dicom.grid import series_grid
from petrt.io.dicom.header import PET_IMAGE, Header, choose, quiet, read_headers
from petrt.io.dicom.origin import PetSeries, Plane
from petrt.io.header import affine_header, check_shape
from petrt.io.volume import MAX_VOXELS, Nonfinite, Volume, as_float32, count_voxels

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SeriesInfo", "inspect", "read"]

logger = logging.getLogger(__name__)

_SALT = secrets.token_bytes(16)
# Photons of positron annihilation; the energy window of a PET scan contains it.
_ANNIHILATION_KEV = 511.0


@dataclass(frozen=True)
class SeriesInfo:
    """Fields of a series without patient data; "" or 0 if a field is absent.

    ``patient_key`` and ``acquisition_key`` are salted hashes of the patient's ID and of the scan's
    start time: scans with equal keys belong together. The keys of different processes compare only with
    a common salt; they must not be stored. Scans with one ``frame_of_reference_uid`` share coordinates.
    """

    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    patient_key: str
    acquisition_key: str
    modality: str
    units: str
    manufacturer: str
    rows: int
    columns: int
    slices: int


def inspect(source: Source, *, salt: bytes = _SALT) -> list[SeriesInfo]:
    """List the series in ``source`` (folder with subfolders, files, zip) without reading pixels.

    Raises InputError if there is no DICOM image or a file is damaged. Nothing else is checked.
    """
    with quiet(), dicom_files(source) as files:
        series = read_headers(files)
        return [_info(uid, headers, salt) for uid, headers in series.items()]


def read(
    source: Source,
    *,
    series: str | None = None,
    force_units: bool = False,
    max_voxels: int = MAX_VOXELS,
    nonfinite: Nonfinite = "refuse",
) -> Volume:
    """The volume of one series: float32 [X, Y, Z], x along rows, z along the slices' normal.

    ``series`` is the UID of the series to read, if there are several. ``force_units`` accepts units
    other than BQML without converting them. Raises InputError. All headers, ``max_voxels`` and the
    files' sizes are checked before anything large is allocated.
    """
    with quiet(), dicom_files(source) as files:
        uid, headers = choose(read_headers(files), series)
        name = f"series {uid}"
        _check_kind(headers, name)
        _check_one_scan(headers, name)
        rows, columns = _matrix(headers, name)
        units = _check_units(headers, name, force_units)
        shape = (columns, rows, len(headers))
        check_shape(shape, name, max_voxels)
        slopes = [_slope(header) for header in headers]
        order, affine = series_grid(headers, name)
        # In this memory order a slice is contiguous, with x fastest, as in the file.
        data = np.empty(shape, np.float32, order="F")
        for k, index in enumerate(order):
            stored = _pixels(headers[index], rows, columns)
            values = as_float32(stored.reshape(-1), slopes[index], 0.0)
            data[:, :, k] = values.reshape(rows, columns).T
    stats = count_voxels(data, name, nonfinite)
    path = Path(source) if isinstance(source, str | os.PathLike) else None
    planes = tuple(Plane(headers[index]) for index in order)
    origin = PetSeries(uid, units, (planes,))
    summary = f"DICOM PET series, {len(headers)} slices, units {units}"
    return Volume(data, affine, affine_header(affine, shape), stats, path, summary, origin)


def _info(uid: str, headers: list[Header], salt: bytes) -> SeriesInfo:
    first = headers[0]
    began = min(h.text("AcquisitionDate") + h.text("AcquisitionTime") for h in headers)
    rows, columns = (
        int(first.numbers(field)[0]) if first.has(field) else 0 for field in ("Rows", "Columns")
    )
    return SeriesInfo(
        series_uid=uid,
        study_uid=first.text("StudyInstanceUID"),
        frame_of_reference_uid=first.text("FrameOfReferenceUID"),
        patient_key=_key(first.text("PatientID"), salt),
        acquisition_key=_key(began, salt),
        modality=first.text("Modality"),
        units=first.text("Units"),
        manufacturer=first.text("Manufacturer"),
        rows=rows,
        columns=columns,
        slices=len(headers),
    )


def _key(text: str, salt: bytes) -> str:
    return hashlib.sha256(salt + text.encode()).hexdigest() if text else ""


def _check_kind(headers: list[Header], name: str) -> None:
    """Raise InputError unless these are PET slices, one per file; log mandatory fields that are absent."""
    from pydicom.uid import UID

    for header in headers:
        modality = header.text("Modality")
        if modality != "PT":
            raise InputError(
                f"{name}: DICOM field Modality is {modality or 'absent'}, expected PT",
                "give a PET series",
            )
        kind = header.text("SOPClassUID") or PET_IMAGE
        frames = header.numbers("NumberOfFrames")[0] if header.has("NumberOfFrames") else 1
        if kind != PET_IMAGE or frames != 1:
            what = f"{frames:g} frames in a file" if kind == PET_IMAGE else UID(kind).name
            raise InputError(
                f"{name}: {what}, expected {UID(PET_IMAGE).name} with one slice in a file",
                "export it as such",
            )
    _check_energy(headers[0], name)
    for field in ("Manufacturer", "InstanceNumber"):
        absent = sum(not header.has(field) for header in headers)
        if absent:
            logger.warning("%s: DICOM field %s is absent in %d files", name, field, absent)


def _check_one_scan(headers: list[Header], name: str) -> None:
    """Raise InputError for slices of several patients; log other signs of more than one volume."""
    patients = {header.text("PatientID") for header in headers}
    if len(patients) > 1:
        raise InputError(
            f"{name}: its slices have {len(patients)} different PatientIDs", "give one scan"
        )
    frames = {header.text("FrameOfReferenceUID") for header in headers}
    if len(frames) > 1:
        logger.warning(
            "%s: its slices have %d frames of reference; they are taken as one", name, len(frames)
        )
    field = "NumberOfTimeSlices"
    # Whole-body series of GE count their beds in this field.
    dynamic = [h for h in headers if "DYNAMIC" in h.text("SeriesType") and h.has(field)]
    stated = max((header.numbers(field)[0] for header in dynamic), default=1.0)
    if stated > 1:
        logger.warning("%s: DICOM field %s is %g, one frame is here", name, field, stated)


def _check_energy(header: Header, name: str) -> None:
    """Refuse SPECT stored as PET: its energy windows are below the energy of annihilation photons."""
    field = "EnergyWindowUpperLimit"
    windows = [window for window in header.items("EnergyWindowRangeSequence") if window.has(field)]
    highest = max((window.numbers(field)[0] for window in windows), default=_ANNIHILATION_KEV)
    if 0 < highest < _ANNIHILATION_KEV:
        raise InputError(
            f"{name}: photons up to {highest:g} keV, so SPECT, though stored as PET",
            "give a PET series",
        )


def _check_units(headers: list[Header], name: str, force: bool) -> str:
    several = sorted({header.text("Units") or "absent" for header in headers})
    if len(several) > 1:
        raise InputError(f"{name}: its slices differ in Units: {', '.join(several)}", "repair it")
    (units,) = several
    if units != "BQML" and not force:
        raise InputError(
            f"{name}: DICOM field Units is {units}, expected BQML (Bq/ml)",
            way("force_units", "", "uses its values unchanged", "convert it to Bq/ml"),
        )
    if units != "BQML":
        logger.warning("%s: DICOM field Units is %s; values are used unchanged", name, units)
    return units


def _matrix(headers: list[Header], name: str) -> tuple[int, int]:
    """Rows and columns. Raises InputError if files differ in them or hold too few pixels."""
    sizes = {(int(h.numbers("Rows")[0]), int(h.numbers("Columns")[0])) for h in headers}
    if len(sizes) > 1:
        several = ", ".join(f"{columns} x {rows}" for rows, columns in sorted(sizes))
        raise InputError(f"{name}: its slices differ in size: {several}", "give one volume")
    ((rows, columns),) = sizes
    for header in headers:
        samples = header.numbers("SamplesPerPixel")[0] if header.has("SamplesPerPixel") else 1
        if samples != 1:
            raise InputError(f"{header.label}: {samples:g} samples per pixel", "give a PET series")
        expected = rows * columns * int(header.numbers("BitsAllocated")[0]) // 8
        if header.stored is not None and header.stored < expected:
            raise InputError(
                f"{header.label}: truncated: expected {expected} bytes of pixels, "
                f"found {max(header.stored, 0)}",
                "copy or download it again",
            )
    return rows, columns


def _slope(header: Header) -> float:
    """The slope of this slice. Its intercept must be 0, as in all PET (PS3.3 C.8.9.4)."""
    (slope,) = header.numbers("RescaleSlope")
    if slope <= 0:
        raise InputError(
            f"{header.label}: DICOM field RescaleSlope is {slope:g}, expected a number above 0",
            "repair it",
        )
    intercept = header.numbers("RescaleIntercept")[0] if header.has("RescaleIntercept") else 0.0
    if intercept != 0:
        raise InputError(
            f"{header.label}: DICOM field RescaleIntercept is {intercept:g}, which PET does not have",
            "repair it",
        )
    return slope


def _pixels(header: Header, rows: int, columns: int) -> np.ndarray:
    """The stored values [rows, columns]."""
    from pydicom.pixels.utils import pixel_array

    hint = "copy it again"
    if header.stored is None and not header.whole:
        hint = "decompress it first (gdcmconv --raw), or copy it again"
    try:
        with header.file.open() as stream:
            source = _whole(stream) if header.whole else stream
            stored: np.ndarray = pixel_array(source)
    except InputError:
        raise
    except Exception as error:  # many kinds, for a damaged file or an absent decoder
        fault = type(error).__name__
        raise InputError(f"{header.label}: its pixels cannot be read ({fault})", hint) from error
    if stored.shape != (rows, columns) or stored.dtype.kind not in "iu":
        raise InputError(f"{header.label}: its pixels do not fit its header", hint)
    return stored


def _whole(stream: BinaryIO) -> Dataset:
    """The dataset of a file that is deflated or lacks the preamble, as if it were stored plainly."""
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    dataset = dcmread(stream, force=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or syntax.is_deflated:
        implicit = syntax is None and dataset.original_encoding[0]
        plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = plain
    return dataset
