"""Series of every kind, and SUVbw of one unit of each slice, worked out here by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from tests.suv.series_files import (
    CORRECTED,
    DOSE,
    GE,
    MEAN,
    MIDDLE,
    PHILIPS,
    RATE,
    VOXEL_ML,
    WEIGHT_G,
    bed,
    drug,
)


@dataclass(frozen=True)
class Case:
    """``changes`` to a series in Bq/ml, and the expected SUVbw of a value of 1: one number, or one a bed."""

    expected: float | tuple[float, float]
    changes: dict[str, Any] = field(default_factory=dict)

    def of(self, k: int) -> float:
        return self.expected[bed(k)] if isinstance(self.expected, tuple) else self.expected


def per_dose(elapsed_s: float, dose: float = DOSE, grams: float = WEIGHT_G) -> float:
    """Weight over the dose that is left ``elapsed_s`` after the administration."""
    return grams / dose * math.exp(RATE * elapsed_s)


def at(text: str) -> dict[str, Any]:
    """The scan at ``text`` (date and time)."""
    return {f"{what}Date": text[:8] for what in ("Series", "Acquisition")} | {
        f"{what}Time": text[8:] for what in ("Series", "Acquisition")
    }


def given(text: str | None, time: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "RadiopharmaceuticalInformationSequence": drug(
            RadiopharmaceuticalStartDateTime=text, RadiopharmaceuticalStartTime=time, **more
        )
    }


BEDS = {
    "AcquisitionTime": lambda k: f"11{5 * bed(k):02}00",
    "FrameReferenceTime": lambda k: f"{(300 * bed(k) + MIDDLE) * 1000:.3f}",
}
MAKER = {"Units": "CNTS", "Manufacturer": "Philips Medical Systems"}
HOUR = per_dose(3600)
LATER = {"SeriesTime": "150000"}  # a series that was made after the scan
NONE = {"DecayCorrection": "NONE", "CorrectedImage": [w for w in CORRECTED if w != "DECY"]}
# W / LBM and the like at 70 kg, 175 cm.
LBM, JAMES128, IBW = 70 / 57.8, 70 / 56.52, 70 / 72.38
JANMA = (6680 + 216 * 70 / 1.75**2) / 9270
AREA = 0.007184 * 175**0.725 * 70**0.425

CASES: dict[str, Case] = {
    "start": Case(HOUR),
    "start, beds": Case(HOUR, BEDS),
    "administration": Case(WEIGHT_G / DOSE, {"DecayCorrection": "ADMIN"}),
    "administration, no times": Case(
        WEIGHT_G / DOSE,
        {"DecayCorrection": "ADMIN", "SeriesTime": None, "AcquisitionTime": None}
        | given(None, RadionuclideHalfLife=None),
    ),
    "none": Case(MEAN * HOUR, NONE),
    "none, beds": Case((MEAN * HOUR, MEAN * per_dose(3900)), NONE | BEDS),
    "series later": Case(HOUR, LATER | BEDS),
    "series later, GE": Case(
        per_dose(3540),
        LATER | {"FrameReferenceTime": None, "private": [(GE, 0x0D, "20250101105900.00")]},
    ),
    "series later, GE later, too": Case(
        HOUR, LATER | BEDS | {"private": [(GE, 0x0D, "20250101150000.00")]}
    ),
    "series later, GE's reference times": Case(
        HOUR,
        LATER
        | {
            "Manufacturer": "GE MEDICAL SYSTEMS",
            "AcquisitionTime": BEDS["AcquisitionTime"],
            "FrameReferenceTime": lambda k: 300_000 * bed(k),
            "DecayFactor": lambda k: f"{MEAN * math.exp(RATE * 300 * bed(k)):.6g}",
        },
    ),
    "series later, decay factors": Case(
        HOUR,
        LATER | BEDS | {"DecayFactor": lambda k: f"{math.exp(RATE * (300 * bed(k) + MIDDLE)):.6g}"},
    ),
    "series without time": Case(HOUR, {"SeriesTime": None}),
    "series before": Case(per_dose(3597), {"SeriesTime": "105957"}),
    "fractions": Case(
        per_dose(3600.875 - 0.125), at("20250101110000.875") | given("20250101100000.125")
    ),
    "administration time only": Case(HOUR, given(None, "100000.000000")),
    "administration time and date": Case(HOUR, given("20250101100000", "110000")),
    "midnight, time only": Case(
        per_dose(1800), at("20250102000500") | given(None, "233500.000000")
    ),
    "midnight, date and time": Case(per_dose(1800), at("20250102000500") | given("20250101233500")),
    "date of the dose made up": Case(HOUR, given("19000101100000")),
    "date of the dose made up, over midnight": Case(
        per_dose(1800), at("20250102000500") | given("20991231233500")
    ),
    "midnight, wrong date": Case(per_dose(1800), at("20250102000500") | given("20250102233500")),
    "beds over midnight": Case(
        per_dose(3480),
        given(None, "230000")
        | {
            "SeriesTime": "235800",
            "AcquisitionTime": lambda k: "000300" if bed(k) else "235800",
            "AcquisitionDate": lambda k: "20250102" if bed(k) else "20250101",
            "FrameReferenceTime": BEDS["FrameReferenceTime"],
        },
    ),
    "beds over midnight, no dates": Case(
        per_dose(3480),
        given(None, "230000")
        | {
            "SeriesTime": "235800",
            "AcquisitionTime": lambda k: "000300" if bed(k) else "235800",
            "AcquisitionDate": None,
            "FrameReferenceTime": BEDS["FrameReferenceTime"],
        },
    ),
    "given during the scan": Case(per_dose(-20), given(None, "110020")),
    "time zone": Case(HOUR, {"TimezoneOffsetFromUTC": "+0100"}),
    "time zone of its own": Case(
        HOUR, {"TimezoneOffsetFromUTC": "+0130"} | given("20250101083000.0+0000")
    ),
    "time zone, next day": Case(
        per_dose(5400),
        at("20250101233000") | {"TimezoneOffsetFromUTC": "-0500"} | given("20250102030000+0000"),
    ),
    "time zone, time only": Case(
        per_dose(1800),
        at("20250102000500") | {"TimezoneOffsetFromUTC": "+0900"} | given(None, "233500"),
    ),
    "only the dose has a time zone": Case(HOUR, given("20250101100000+0100")),
    "acquisition date-time": Case(
        HOUR,
        {
            "AcquisitionDate": None,
            "AcquisitionTime": None,
            "AcquisitionDateTime": "20250101110000.0",
        },
    ),
    "dose in MBq": Case(HOUR, given("20250101100000", RadionuclideTotalDose=DOSE / 1e6)),
    "weight in g": Case(HOUR, {"PatientWeight": 70_000}),
    "g/ml": Case(1.0, {"Units": "GML"}),
    "g/ml, BW": Case(1.0, {"Units": "GML", "SUVType": "BW"}),
    "g/ml, LBM": Case(LBM, {"Units": "GML", "SUVType": "LBM"}),
    "g/ml, LBMJAMES128": Case(JAMES128, {"Units": "GML", "SUVType": "LBMJAMES128"}),
    "g/ml, LBMJANMA": Case(JANMA, {"Units": "GML", "SUVType": "LBMJANMA"}),
    "g/ml, IBW": Case(IBW, {"Units": "GML", "SUVType": "IBW"}),
    "g/ml, IBW, other sex": Case(
        70 / ((72.38 + 66.43) / 2), {"Units": "GML", "SUVType": "IBW", "PatientSex": "O"}
    ),
    "g/ml, LBM, woman, height in cm": Case(
        70 / 51.22, {"Units": "GML", "SUVType": "LBM", "PatientSex": "F", "PatientSize": 175}
    ),
    "cm2/ml": Case(70 / AREA / 10, {"Units": "CM2ML"}),
    "cm2/ml, BSA": Case(70 / AREA / 10, {"Units": "CM2ML", "SUVType": "BSA"}),
    "counts, both factors": Case(
        2.5 * HOUR, MAKER | {"private": [(PHILIPS, 0x00, "0.0005"), (PHILIPS, 0x09, "2.5")]}
    ),
    "counts, factor to SUV": Case(
        0.0005,
        MAKER
        | {"private": [(PHILIPS, 0x00, "0.0005")], "RadiopharmaceuticalInformationSequence": None},
    ),
    "counts, a factor of 0": Case(
        0.0005, MAKER | {"private": [(PHILIPS, 0x00, "0.0005"), (PHILIPS, 0x09, "0")]}
    ),
    "counts, no creator": Case(
        2.5 * HOUR, MAKER | {"private": [(PHILIPS, 0x09, "2.5")], "creators": False}
    ),
    "counts, not decay corrected": Case(
        (2.5 * MEAN * HOUR, 2.5 * MEAN * per_dose(3900)),
        MAKER | {"private": [(PHILIPS, 0x09, "2.5")]} | NONE | BEDS,
    ),
    "counts/s, calibrated": Case(
        HOUR / VOXEL_ML,
        {"Units": "CPS", "CorrectedImage": [*CORRECTED, "DCAL"], "DoseCalibrationFactor": 7},
    ),
    "counts/s, not calibrated": Case(
        7 * HOUR / VOXEL_ML, {"Units": "CPS", "DoseCalibrationFactor": 7}
    ),
}
