"""What turns the values of a PET series into SUV, slice by slice.

After the IBSI manual on SUV computation (2026) and QIBA's vendor-neutral rules; docs/suv.md.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from petrt.suv.fields import body, no_suv, one_for_all, philips, positive
from petrt.suv.formulas import KINDS, Kind, check_kind

if TYPE_CHECKING:
    from petrt.io.dicom.header import Header
    from petrt.io.volume import Volume

logger = logging.getLogger(__name__)

_ACTIVITY, _SUV = 0x09, 0x00  # Philips' factors from counts to Bq/ml, and to SUVbw
Factors = NDArray[np.float64]


def factors(volume: Volume, kind: Kind = "bw", *, force_units: bool = False) -> Factors:
    """Float64 [T, Z] from the unit of ``volume`` to SUV: SUV of frame t, slice k is ``[t, k]`` times it.

    ``volume`` comes from a DICOM series, of one frame or T frames. The unit of SUV is g/ml, for ``bsa``
    cm²/ml. ``force_units`` goes on where attenuation is not corrected. Raises UsageError for another
    ``kind``, and InputError with the reason where SUV cannot be formed.
    """
    kind = check_kind(kind)
    series = volume.series
    if series is None:
        raise no_suv("volume", "it comes from no DICOM series, so weight and dose are unknown")
    from petrt.io.dicom.header import quiet

    planes = [plane for frame in series.frames for plane in frame]
    headers = [plane.header for plane in planes]
    name = f"series {series.uid}"
    with quiet():
        _check_attenuation(headers, name, force_units)
        voxel_ml = abs(float(np.linalg.det(volume.affine_mm[:3, :3]))) / 1000
        stored_kind, each = _known(headers, series.units, voxel_ml, name)
        if stored_kind is None:
            with np.errstate(all="ignore"):  # what is not finite is refused below
                each = each * _from_activity(headers, kind, name)
        elif stored_kind != kind:
            patient = body(headers, (stored_kind, kind), name)
            each = each * (patient.size(kind) / patient.size(stored_kind))
    # The factors of planes are for reconstruction; SUV is that of the values in the files.
    each = each / [plane.factor for plane in planes]
    if not (np.isfinite(each) & (each > 0)).all():
        raise no_suv(name, "its fields give no number, or one beyond all scans")
    return each.reshape(len(series.frames), -1)


def _from_activity(headers: Sequence[Header], kind: Kind, name: str) -> Factors:
    from petrt.suv.decay import dose_factors

    return body(headers, (kind,), name).size(kind) * dose_factors(headers, name)


def _known(
    headers: Sequence[Header], units: str, voxel_ml: float, name: str
) -> tuple[Kind | None, Factors]:
    """What makes values Bq/ml (None) or a kind of SUV, for each slice. Raises InputError for other units."""
    ones = np.ones(len(headers))
    if units == "BQML":
        return None, ones
    if units == "CM2ML":
        return "bsa", ones
    if units == "GML":
        return _kind_of_grams(headers, name), ones
    if units == "CNTS":
        return _from_counts(headers, name)
    if units == "CPS":
        return None, ones * _calibration(headers, name) / voxel_ml
    raise no_suv(name, f"DICOM field Units is {units or 'absent'}, which is not quantitative")


def _kind_of_grams(headers: Sequence[Header], name: str) -> Kind:
    text = one_for_all(headers, "SUVType", name) or "BW"
    for kind in KINDS:
        if text == kind.upper():
            return kind
    raise no_suv(name, f"DICOM field SUVType is {text}")


def _from_counts(headers: Sequence[Header], name: str) -> tuple[Kind | None, Factors]:
    """Philips' private factors, from counts to Bq/ml or else to SUVbw."""
    kinds: tuple[tuple[int, Kind | None], ...] = ((_ACTIVITY, None), (_SUV, "bw"))
    for element, kind in kinds:
        found = philips(headers, element)
        if found is None:
            continue
        if kind == "bw" and one_for_all(headers, "DecayCorrection", name) == "NONE":
            raise no_suv(name, "decay is not corrected, and Philips' factor is for values that are")
        return kind, np.array(found)
    raise no_suv(
        name, "Units is CNTS, and neither factor of Philips, (7053,1000) or (7053,1009), is here"
    )


def _calibration(headers: Sequence[Header], name: str) -> Factors:
    """DoseCalibrationFactor for each slice; 1 for those that it is in already."""
    found = []
    for header in headers:
        factor = 1.0 if "DCAL" in header.words("CorrectedImage") else None
        found.append(factor or positive(header, "DoseCalibrationFactor"))
    if None in found:
        raise no_suv(
            name, "Units is CPS without DCAL in CorrectedImage, and no DoseCalibrationFactor"
        )
    return np.array(found, float)


def _check_attenuation(headers: Sequence[Header], name: str, force: bool) -> None:
    """Raise InputError for slices that state their corrections, and attenuation is not among them."""
    stated = [header.words("CorrectedImage") for header in headers]
    if all("ATTN" in words for words in stated):
        return
    reason = "CorrectedImage lacks ATTN: not corrected for attenuation"
    if any(words and "ATTN" not in words for words in stated):
        if not force:
            raise no_suv(name, reason)
        logger.warning("%s: %s; SUV is computed nevertheless", name, reason)
    else:
        logger.warning(
            "%s: DICOM field CorrectedImage is absent; attenuation is taken as corrected", name
        )
