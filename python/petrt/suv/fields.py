"""Fields of DICOM headers that SUV needs, in their units. A field that is unfit is the reason for no SUV."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from petrt.errors import InputError
from petrt.io.dicom.header import GE, PHILIPS
from petrt.suv.formulas import Body, Kind

if TYPE_CHECKING:
    from petrt.io.dicom.header import Header

logger = logging.getLogger(__name__)

_ADVICE = "repair the header, or stay with the unit of the file"
# Above these, or below, a number is in the other unit that is in use: kg or g, m or cm, Bq or MBq.
_MOST_KG = 1000.0
_MOST_M = 3.0
_LEAST_BQ = 1e4


def no_suv(name: str, reason: str) -> InputError:
    """The error that says why there is no SUV."""
    return InputError(f"{name}: no SUV: {reason}", _ADVICE)


def one_for_all(headers: Sequence[Header], field: str, name: str) -> str:
    """The text of a field, "" if it is absent. Raises InputError where slices differ in it."""
    texts = {header.text(field) for header in headers}
    if len(texts) > 1:
        raise no_suv(name, f"its slices differ in DICOM field {field}")
    return texts.pop()


def positive(header: Header, field: str) -> float | None:
    """The number in a field; None if it is absent or not above 0. Raises InputError for anything else."""
    number = header.numbers(field)[0] if header.has(field) else 0.0
    return number if number > 0 else None


def body(headers: Sequence[Header], kinds: Iterable[Kind], name: str) -> Body:
    """The patient's body, as far as ``kinds`` need it. Raises InputError for what is absent."""
    for field in ("PatientWeight", "PatientSize", "PatientSex"):
        one_for_all(headers, field, name)
    first = headers[0]
    weight = positive(first, "PatientWeight")
    if weight is None:
        raise no_suv(name, "DICOM field PatientWeight is absent or 0")
    if weight > _MOST_KG:
        logger.warning("%s: DICOM field PatientWeight is above 1000 and taken as g", name)
        weight /= 1000
    height = None if set(kinds) <= {"bw"} else positive(first, "PatientSize")
    if height is not None and height <= _MOST_M:
        height *= 100
    elif height is not None:
        logger.warning("%s: DICOM field PatientSize is above 3 and taken as cm", name)
    sex = first.text("PatientSex").upper()
    found = Body(weight, height, sex if sex in ("M", "F", "O") else None)  # type: ignore[arg-type]
    for kind in kinds:
        try:
            found.size(kind)
        except ValueError as error:
            fields = {"no height": "PatientSize is absent or 0", "no sex": "PatientSex is absent"}
            reason = fields.get(str(error))
            raise no_suv(name, f"DICOM field {reason}" if reason else str(error)) from error
    return found


def drug(headers: Sequence[Header], name: str) -> Header:
    """The only item of RadiopharmaceuticalInformationSequence. Raises InputError if there is not one."""
    field = "RadiopharmaceuticalInformationSequence"
    items = headers[0].items(field)
    if len(items) != 1:
        state = f"has {len(items)} items" if items else "is absent"
        raise no_suv(name, f"DICOM field {field} {state}")
    facts = [
        "RadionuclideTotalDose",
        "RadiopharmaceuticalStartDateTime",
        "RadiopharmaceuticalStartTime",
        "RadionuclideHalfLife",
    ]
    each = {tuple(item.text(f) for f in facts) for h in headers for item in h.items(field)[:1]}
    if len(each) > 1:
        raise no_suv(name, f"its slices differ in DICOM field {field}")
    return items[0]


def dose_bq(item: Header, name: str) -> float:
    """The administered activity in Bq. Raises InputError if it is absent or 0."""
    dose = positive(item, "RadionuclideTotalDose")
    if dose is None:
        raise no_suv(name, "DICOM field RadionuclideTotalDose is absent or 0")
    if dose < _LEAST_BQ:
        logger.warning(
            "%s: DICOM field RadionuclideTotalDose is below 10000 and taken as MBq", name
        )
        dose *= 1e6
    return dose


def duration_s(header: Header) -> float | None:
    """ActualFrameDuration in s; None if it is absent or not above 0."""
    milliseconds = positive(header, "ActualFrameDuration")
    return None if milliseconds is None else milliseconds / 1000


def philips(headers: Sequence[Header], element: int) -> list[float] | None:
    """A scale factor of Philips for each slice; None unless all have one above 0."""
    found = [_number(header.private(*PHILIPS, element)) for header in headers]
    factors = [number for number in found if number > 0]
    return factors if len(factors) == len(headers) else None


def ge_scan_date_time(header: Header) -> str:
    """GE's start of the scan as DT; "" if it is absent."""
    return _text(header.private(*GE, 0x0D))


def _text(value: object) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.strip(" \0")


def _number(value: object) -> float:
    """A number as such or as text; 0 for anything else."""
    try:
        number = float(_text(value) or 0)
    except ValueError:
        return 0.0
    return number if 0 < number < float("inf") else 0.0
