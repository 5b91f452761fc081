"""Whether the files of a series are PET slices of one scan, in a unit that can be reconstructed."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from petrt.errors import InputError, way
from petrt.io.dicom import multiframe
from petrt.io.dicom.header import PHILIPS, Header

logger = logging.getLogger(__name__)

# Photons of positron annihilation; the energy window of a PET scan contains it.
_ANNIHILATION_KEV = 511.0
# Units in which a value is a fixed multiple of the activity: Bq/ml, SUV (g/ml, cm2/ml), the counts of
# Philips and the counts per second of GE.
QUANTITATIVE = ("BQML", "GML", "CM2ML", "CNTS", "CPS")


def check_kind(headers: list[Header], name: str) -> None:
    """Raise InputError unless these are files of PET images; log mandatory fields that are absent."""
    from pydicom.uid import UID

    for header in headers:
        modality = header.text("Modality")
        if modality != "PT":
            raise InputError(
                f"{name}: DICOM field Modality is {modality or 'absent'}, expected PT",
                "give a PET series",
            )
        kind = header.text("SOPClassUID") or multiframe.PET_IMAGE
        frames = multiframe.count(header)
        if kind in multiframe.MULTI_FRAME or (kind == multiframe.PET_IMAGE and frames == 1):
            continue
        what = f"{frames} frames in a file" if kind == multiframe.PET_IMAGE else UID(kind).name
        pet = UID(multiframe.PET_IMAGE).name
        raise InputError(
            f"{name}: {what}, expected {pet} with one slice in a file, or an enhanced one",
            "export it as such",
        )
    if len({header.text("SOPClassUID") in multiframe.MULTI_FRAME for header in headers}) > 1:
        raise InputError(f"{name}: files of one slice and of many", "keep those of one kind")
    for field in ("Manufacturer", "InstanceNumber"):
        absent = sum(not header.has(field) for header in headers)
        if absent:
            logger.warning("%s: DICOM field %s is absent in %d files", name, field, absent)


def check_one_scan(headers: list[Header], name: str) -> None:
    """Raise InputError for slices of several patients, and for SPECT stored as PET."""
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
    # Energy windows of SPECT are below the energy of annihilation photons.
    field = "EnergyWindowUpperLimit"
    windows = [w for w in headers[0].items("EnergyWindowRangeSequence") if w.has(field)]
    highest = max((window.numbers(field)[0] for window in windows), default=_ANNIHILATION_KEV)
    if 0 < highest < _ANNIHILATION_KEV:
        raise InputError(
            f"{name}: photons up to {highest:g} keV, so SPECT, though stored as PET",
            "give a PET series",
        )


def check_units(headers: list[Header], name: str, force: bool) -> str:
    """The field Units. Raises InputError if the slices differ in it, and for values that are not a fixed
    multiple of the activity, unless ``force`` lets these through with a warning."""
    units = _one_for_all(headers, "Units", name)
    if _one_for_all(headers, "SUVType", name) and units not in ("GML", "CM2ML"):
        logger.info("%s: DICOM field SUVType has no meaning in units of %s", name, units)
    reason = ""
    if units not in QUANTITATIVE:
        reason = f"DICOM field Units is {units or 'absent'}, which is not quantitative"
    else:
        uncorrected = sum(_uncorrected(header) for header in headers)
        if uncorrected:
            reason = (
                f"CorrectedImage lacks ATTN in {uncorrected} slices: not corrected for attenuation"
            )
    if reason and not force:
        raise InputError(
            f"{name}: {reason}",
            way("force_units", "", "uses its values unchanged", "give a quantitative series"),
        )
    if reason:
        logger.warning("%s: %s; values are used unchanged", name, reason)
    return units


def _one_for_all(headers: list[Header], field: str, name: str) -> str:
    several = sorted({header.text(field) or "absent" for header in headers})
    if len(several) > 1:
        raise InputError(f"{name}: its slices differ in {field}: {', '.join(several)}", "repair it")
    return headers[0].text(field)


def _uncorrected(header: Header) -> bool:
    """Whether a slice states its corrections, and attenuation is not among them."""
    words = header.words("CorrectedImage")
    return bool(words) and "ATTN" not in words


def count_factors(headers: Sequence[Header], units: str, name: str) -> list[float]:
    """What brings the counts of one frame's slices to one scale: 1, but for slices of Philips whose factors
    from counts to Bq/ml, or else to SUVbw, differ."""
    for element in (0x09, 0x00) if units == "CNTS" else ():
        values = [_positive(header.private(*PHILIPS, element)) for header in headers]
        if all(values):
            if len(set(values)) > 1:
                logger.info(
                    "%s: the factors of its counts differ, and are made those of slice 1", name
                )
            return [value / values[0] for value in values]
    return [1.0] * len(headers)


def _positive(value: Any) -> float:
    """A number above 0, as private elements hold it in text or bytes; else 0."""
    try:
        number = float(value.decode("ascii") if isinstance(value, bytes) else value)
    except (TypeError, ValueError):
        return 0.0
    return number if 0 < number < math.inf else 0.0


def slope(header: Header) -> float:
    """The slope of a slice. Its intercept must be 0, as in all PET (PS3.3 C.8.9.4)."""
    (number,) = header.numbers("RescaleSlope")
    if number <= 0:
        raise InputError(
            f"{header.label}: DICOM field RescaleSlope is {number:g}, expected a number above 0",
            "repair it",
        )
    intercept = header.numbers("RescaleIntercept")[0] if header.has("RescaleIntercept") else 0.0
    if intercept != 0:
        raise InputError(
            f"{header.label}: DICOM field RescaleIntercept is {intercept:g}, which PET does not have",
            "repair it",
        )
    return number
