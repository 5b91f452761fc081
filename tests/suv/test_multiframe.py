"""SUV of multi-frame files, which state decay and times in other words."""

from __future__ import annotations

import math

import numpy as np
import pydicom
import pytest

import petrt.suv
from petrt.io.dicom import series as dicom
from tests.io.dicom.multiframe import enhanced, group
from tests.suv.series_files import HALF_LIFE, RATE, drug

PER_DOSE = 70e3 / 3.5e8
# The frames begin at 10:11:12.5 of +0100, and last 60 s.
BODY = {"PatientWeight": 70, "PatientSize": 1.75, "PatientSex": "F"}


def factor(tmp_path, kind="bw", code="Bq/ml", given="20000101091112.5+0100", dose=350, **changes):
    item = drug(RadiopharmaceuticalStartDateTime=given, RadionuclideTotalDose=dose)
    path = enhanced(
        tmp_path / "in" / "x.dcm",
        tmp_path,
        code=code,
        **BODY | {"RadiopharmaceuticalInformationSequence": item} | changes,
    )
    factors = petrt.suv.factors(dicom.read(path), kind)
    assert np.ptp(factors) == 0
    return factors[0, 0]


@pytest.mark.parametrize("dose", [350, 3.5e8])  # PS3.3 C.8.22.4 has MBq, files also Bq
def test_decay_is_corrected_to_a_stated_moment(tmp_path, dose):
    """It may be any: here half a half-life after the administration, which is after the frame."""
    moment = 9 * 3600 + 11 * 60 + 12.5 + HALF_LIFE / 2
    hours, rest = divmod(moment, 3600)
    text = f"20000101{int(hours):02}{int(rest // 60):02}{rest % 60:09.6f}"
    assert factor(tmp_path, dose=dose, DecayCorrectionDateTime=text) == pytest.approx(
        PER_DOSE * math.sqrt(2)
    )


def test_decay_is_corrected_to_the_administration(tmp_path):
    given = "20000101091112.5+0100"
    found = factor(tmp_path, given=given, DecayCorrectionDateTime="20000101091112.5+0100")
    assert found == pytest.approx(PER_DOSE)


@pytest.mark.parametrize("given", ["20000101091112.5+0100", "20000101081112.5+0000"])
def test_decay_is_not_corrected(tmp_path, given):
    decay = RATE * 60
    expected = PER_DOSE * decay / (1 - math.exp(-decay)) * math.exp(RATE * 3600)
    assert factor(tmp_path, given=given, DecayCorrected="NO") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("g/ml{SUVbw}", 1),
        ("{SUVlbm}g/ml", 70 / 51.22),
        ("g/ml{SUVlbm(James128)}", 70 / 51.22),
        ("{SUVlbmjanma}g/ml", (8780 + 244 * 70 / 1.75**2) / 9270),
        ("{SUVibw}g/ml", 70 / 66.43),
        ("{SUVbsa}cm2/ml", 7 / (0.007184 * 175**0.725 * 70**0.425)),
    ],
)
def test_real_world_values_in_suv(tmp_path, code, expected):
    assert factor(tmp_path, code=code) == pytest.approx(expected)


def test_units_of_rescaled_values(tmp_path):
    """Without a real world value map, the rescaling of the pixel values names its unit."""
    item = drug(RadiopharmaceuticalStartDateTime="20000101091112.5")
    moment = {"DecayCorrectionDateTime": "20000101101112.5"}
    body = BODY | moment | {"RadiopharmaceuticalInformationSequence": item}
    path = enhanced(tmp_path / "in" / "x.dcm", tmp_path, **body)
    whole = pydicom.dcmread(path)
    for frame in whole.PerFrameFunctionalGroupsSequence:
        del frame.RealWorldValueMappingSequence
        frame.PixelValueTransformationSequence[0].RescaleType = "BQML"
    whole.save_as(path)
    volume = dicom.read(path)
    assert volume.series is not None
    assert volume.series.units == "BQML"
    np.testing.assert_allclose(petrt.suv.factors(volume), PER_DOSE * math.exp(RATE * 3600))


def test_legacy_converted(tmp_path):
    """The fields of the single slices are in groups of unassigned attributes."""
    path = enhanced(tmp_path / "in" / "x.dcm", tmp_path, legacy=True, **BODY)
    whole = pydicom.dcmread(path)
    shared = whole.SharedFunctionalGroupsSequence[0]
    group(
        shared,
        "UnassignedSharedConvertedAttributesSequence",
        Units="BQML",
        DecayCorrection="START",
        CorrectedImage=["ATTN", "DECY"],
    )
    del whole.DecayCorrected, whole.AttenuationCorrected
    whole.SeriesDate, whole.SeriesTime = "20000101", "101112.5"
    whole.RadiopharmaceuticalInformationSequence = drug(
        RadiopharmaceuticalStartDateTime="20000101091112.5"
    )
    whole.save_as(path)
    factors = petrt.suv.factors(dicom.read(path))
    np.testing.assert_allclose(factors, PER_DOSE * math.exp(RATE * 3600))
