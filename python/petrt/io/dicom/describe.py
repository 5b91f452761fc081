"""What the .json file beside a volume from DICOM says: fields of BIDS, and nothing about the patient."""

from __future__ import annotations

from typing import Any

from petrt.errors import InputError
from petrt.io.dicom.header import Header, quiet
from petrt.io.dicom.origin import PetSeries
from petrt.io.dicom.timing import acquired

UNITS = {
    "BQML": "Bq/mL",
    "GML": "g/mL",
    "CM2ML": "cm2/mL",
    "CNTS": "counts",
    "CPS": "counts/s",
    "1CM": "1/cm",
}


def bids_fields(series: PetSeries) -> dict[str, Any]:
    """Fields of the BIDS extension for PET that the headers give; the others are left out.

    Times are in seconds from the start of the earliest acquisition, without date and time of the day.
    """
    with quiet():
        first = series.frames[0][0].header
        fields: dict[str, Any] = {"Units": UNITS.get(series.units, series.units or "arbitrary")}
        texts = {
            "Manufacturer": first.text("Manufacturer"),
            "ManufacturersModelName": first.text("ManufacturerModelName"),
            "DecayCorrection": first.text("DecayCorrection"),
            "SUVType": first.text("SUVType") if series.units == "GML" else "",
        }
        fields |= {key: text for key, text in texts.items() if text}
        fields |= _dose(first)
        return fields | _timing(series)


def _timing(series: PetSeries) -> dict[str, Any]:
    found: dict[str, Any] = {}
    frames = [[plane.header for plane in frame] for frame in series.frames]
    durations = [max(_milliseconds(header) for header in frame) / 1000 for frame in frames]
    if all(durations):
        found["FrameDuration"] = durations
    starts = [[acquired(header) for header in frame] for frame in frames]
    if all(start is not None for frame in starts for start in frame):
        each = [min(start for start in frame if start is not None) for frame in starts]
        found |= {"ScanStart": 0, "FrameTimesStart": [start - min(each) for start in each]}
    correction = series.frames[0][0].header.text("DecayCorrection")
    if correction in ("START", "ADMIN", "NONE"):
        found["ImageDecayCorrected"] = correction != "NONE"
    if correction == "START":
        found["ImageDecayCorrectionTime"] = 0
    return found


def _milliseconds(header: Header) -> float:
    field = "ActualFrameDuration"
    return max(header.numbers(field)[0], 0.0) if header.has(field) else 0.0


def _dose(header: Header) -> dict[str, Any]:
    """The half-life in s, and the injected activity in MBq."""
    found: dict[str, Any] = {}
    for drug in header.items("RadiopharmaceuticalInformationSequence")[:1]:
        for key, field in (
            ("RadionuclideHalfLife", "RadionuclideHalfLife"),
            ("InjectedRadioactivity", "RadionuclideTotalDose"),
        ):
            try:
                found[key] = drug.numbers(field)[0]
            except InputError:
                continue
    if (dose := found.get("InjectedRadioactivity", 0.0)) > 0:
        found["InjectedRadioactivity"] = dose / 1e6 if dose >= 1e4 else dose
        found["InjectedRadioactivityUnits"] = "MBq"
    return found
