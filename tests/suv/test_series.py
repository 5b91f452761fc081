"""SUV of a series by every rule for its unit, decay correction and times; and each reason for none."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

import petrt.suv
from petrt.errors import InputError, UsageError
from petrt.io import nifti
from petrt.io.dicom import series as dicom
from tests.io.dicom.dicom_files import change
from tests.suv.cases import AREA, BEDS, CASES, HOUR, LATER, NONE, at, given
from tests.suv.series_files import CORRECTED, PHILIPS, SHAPE, VOXEL_ML, drug, write


def as_stored(folder, **options) -> tuple[np.ndarray, nifti.Volume]:
    """The values of the files, in the order of the volume, and the volume."""
    volume = dicom.read(folder, **options)
    assert volume.series is not None
    undone = [plane.factor for plane in volume.series.frames[0]]
    return volume.data / np.array(undone), volume


@pytest.mark.parametrize("name", CASES)
def test_rules(tmp_path, name):
    case = CASES[name]
    stored, volume = as_stored(write(tmp_path, **case.changes))
    np.testing.assert_allclose(stored, 1000, rtol=1e-6)
    suv = petrt.suv.volume(volume)
    expected = [1000 * case.of(k) for k in range(SHAPE[2])]
    np.testing.assert_allclose(suv.data[2, 1], expected, rtol=2e-6)
    assert suv.data.dtype == np.float32
    assert suv.series is None
    np.testing.assert_array_equal(suv.affine, volume.affine)
    factors = petrt.suv.factors(volume)
    assert factors.shape == (1, SHAPE[2])
    np.testing.assert_array_equal((volume.data * factors[0]).astype(np.float32), suv.data)


@pytest.mark.parametrize("stored", ["BW", "LBM", "LBMJAMES128", "LBMJANMA", "IBW", "BSA", "Bq/ml"])
def test_all_kinds_from_all_kinds(tmp_path, stored):
    """A kind of SUV is the activity times its body size over the dose, however the file states it."""
    units = {"BSA": {"Units": "CM2ML"}, "Bq/ml": {}}
    changes = units.get(stored, {"Units": "GML", "SUVType": stored})
    volume = dicom.read(write(tmp_path, **changes))
    sizes = {
        "bw": 70e3,
        "lbm": 57.8e3,
        "lbmjames128": 56.52e3,
        "lbmjanma": 1e3 * 9270 * 70 / (6680 + 216 * 70 / 1.75**2),
        "ibw": 72.38e3,
        "bsa": AREA * 1e4,
    }
    activity = HOUR / 70e3 if stored == "Bq/ml" else 1 / sizes[stored.lower()]
    for kind in petrt.suv.KINDS:
        factor = petrt.suv.factors(volume, kind)
        np.testing.assert_allclose(factor, activity * sizes[kind], rtol=1e-7)


def test_suv_in_the_kind_of_the_file_needs_nothing_else(tmp_path):
    unknown = {"PatientWeight": None, "PatientSize": None, "PatientSex": None}
    unknown["RadiopharmaceuticalInformationSequence"] = None
    volume = dicom.read(write(tmp_path, Units="GML", SUVType="LBM", **unknown))
    assert (petrt.suv.factors(volume, "lbm") == 1).all()
    with pytest.raises(InputError, match="no SUV: DICOM field PatientWeight is absent"):
        petrt.suv.factors(volume, "bw")


def test_frames_have_their_own_factors(tmp_path):
    """Not decay corrected, two frames: each at its own time."""
    for t in range(2):
        write(
            tmp_path / str(t),
            AcquisitionTime=f"11{5 * t:02}00",
            SOPInstanceUID=lambda k, t=t: f"1.2.{t + 1}.{k + 1}",
            value=1000 * (t + 1),
            **NONE,
        )
    volume = dicom.read(tmp_path)
    factors = petrt.suv.factors(volume)
    assert factors.shape == (2, SHAPE[2])
    expected = CASES["none, beds"].expected
    assert isinstance(expected, tuple)
    np.testing.assert_allclose(factors[:, 0], expected, rtol=1e-7)
    suv = petrt.suv.volume(volume).data
    np.testing.assert_allclose(suv[1, 1, 1], [1000 * expected[0], 2000 * expected[1]], rtol=1e-6)


def test_beds_that_are_not_decay_corrected_agree_in_suv(tmp_path):
    """A uniform phantom: counts fall with time, SUV does not."""
    left = np.exp(-np.log(2) / 6586.2 * 300)
    for name, value in (("a", 1000.0), ("b", 1000 * left)):
        write(tmp_path / name, value=value, **NONE, **BEDS)
    for path in sorted((tmp_path / "a").iterdir())[3:]:
        path.write_bytes((tmp_path / "b" / path.name).read_bytes())
    suv = petrt.suv.volume(tmp_path / "a").data
    np.testing.assert_allclose(suv, suv[0, 0, 0], rtol=6e-4)  # half a step of storing


def no_drug(**fields):
    return {"RadiopharmaceuticalInformationSequence": drug(**fields)}


REFUSED = {
    "weight absent": ({"PatientWeight": None}, "PatientWeight is absent or 0"),
    "weight 0": ({"PatientWeight": 0}, "PatientWeight is absent or 0"),
    "weights differ": ({"PatientWeight": lambda k: 70 + k}, "differ in DICOM field PatientWeight"),
    "dose absent": (no_drug(RadionuclideTotalDose=None), "RadionuclideTotalDose is absent or 0"),
    "dose 0": (no_drug(RadionuclideTotalDose=0), "RadionuclideTotalDose is absent or 0"),
    "half-life absent": (no_drug(RadionuclideHalfLife=None), "RadionuclideHalfLife is absent or 0"),
    "no drug": ({"RadiopharmaceuticalInformationSequence": None}, "Sequence is absent"),
    "two drugs": ({"RadiopharmaceuticalInformationSequence": drug() + drug()}, "has 2 items"),
    "doses differ": (
        {"RadiopharmaceuticalInformationSequence": lambda k: drug(RadionuclideTotalDose=1e8 + k)},
        "differ in DICOM field RadiopharmaceuticalInformationSequence",
    ),
    "not given": (given(None), "the time of administration is absent"),
    "given later": (
        given("20250103100000", RadionuclideHalfLife=45_700),
        "StartDateTime lies after the acquisition",
    ),
    "given long before": (
        given("20241201100000", RadionuclideHalfLife=45_700),
        "StartDateTime lies over 12 half-lives before the acquisition",
    ),
    "given long before by the time of the day": (
        given("19000101130000"),
        "StartDateTime lies over 12 half-lives before the acquisition",
    ),
    "time only, long before": (
        given(None, "110600"),
        "StartTime lies over 12 half-lives before the acquisition",
    ),
    "a wrong time": (given("soon"), "StartDateTime is not a date and time"),
    "decay unknown": ({"DecayCorrection": None}, "DecayCorrection is absent"),
    "decay to elsewhere": ({"DecayCorrection": "END"}, "DecayCorrection is END"),
    "start unknown": (LATER | {"FrameReferenceTime": None}, "the start of the scan is unknown"),
    "start unknown, times not filled in": (
        LATER | {"FrameReferenceTime": 0},
        "the start of the scan is unknown",
    ),
    "no time of acquisition": ({"AcquisitionTime": None}, "date or time of acquisition is absent"),
    "no duration": (NONE | {"ActualFrameDuration": None}, "ActualFrameDuration is absent or 0"),
    "unknown type": ({"Units": "GML", "SUVType": "MAX"}, "SUVType is MAX"),
    "counts": ({"Units": "CNTS"}, "neither factor of Philips"),
    "counts of some slices": (
        {"Units": "CNTS", "private": [(PHILIPS, 0x01, "1")]},
        "neither factor of Philips",
    ),
    "counts, not decay corrected": (
        {"Units": "CNTS", "private": [(PHILIPS, 0x00, "0.0005")]} | NONE,
        "decay is not corrected",
    ),
    "counts/s": ({"Units": "CPS"}, "no DoseCalibrationFactor"),
    "time zone": ({"TimezoneOffsetFromUTC": "CET"}, "not an offset such as"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_reasons(tmp_path, name):
    changes, reason = REFUSED[name]
    volume = dicom.read(write(tmp_path, **changes))
    with pytest.raises(InputError, match=reason) as caught:
        petrt.suv.factors(volume)
    assert "\n" not in str(caught.value)
    shown = petrt.suv.display(volume)
    assert shown.factors is None
    assert shown.reason == caught.value.message
    assert shown.of(volume.data) is volume.data


def test_a_weight_in_words(tmp_path):
    for path in write(tmp_path, PatientWeight="77.5").iterdir():
        path.write_bytes(path.read_bytes().replace(b"77.5", b"many"))
    with pytest.raises(InputError, match="PatientWeight is not a finite number"):
        petrt.suv.factors(dicom.read(tmp_path))


@pytest.mark.parametrize("units", ["PROPCNTS", "PROPCPS", "1CM", None])
def test_other_units_are_never_suv(tmp_path, units):
    volume = dicom.read(write(tmp_path, Units=units), force_units=True)
    with pytest.raises(InputError, match="not quantitative"):
        petrt.suv.factors(volume, force_units=True)


def test_without_attenuation_correction_only_if_forced(tmp_path, caplog):
    words = [word for word in CORRECTED if word != "ATTN"]
    volume = dicom.read(write(tmp_path, CorrectedImage=words), force_units=True)
    with pytest.raises(InputError, match="not corrected for attenuation"):
        petrt.suv.factors(volume)
    caplog.clear()
    forced = petrt.suv.factors(volume, force_units=True)
    np.testing.assert_allclose(forced, HOUR)
    assert "not corrected for attenuation" in caplog.text


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("lbm", {"PatientSize": None}, "PatientSize is absent or 0"),
        ("bsa", {"PatientSize": 0}, "PatientSize is absent or 0"),
        ("ibw", {"PatientSex": None}, "PatientSex is absent"),
        ("ibw", {"PatientSize": 0.9}, "not defined for this weight and height"),
    ],
)
def test_other_kinds_need_the_body(tmp_path, kind, changes, reason):
    volume = dicom.read(write(tmp_path, **changes))
    np.testing.assert_allclose(petrt.suv.factors(volume), HOUR)
    with pytest.raises(InputError, match=reason):
        petrt.suv.factors(volume, kind)


WARNED = {
    "series": ({"SeriesTime": "105800"}, "is 120 s later by FrameReferenceTime; .* 1.3 % higher"),
    "acquisition": (
        BEDS | {"AcquisitionTime": "110000"},  # as some make them: that of the first bed in all
        "is 300 s earlier by FrameReferenceTime; .* 3.1 % lower",
    ),
    "weight": ({"PatientWeight": 70_000}, "PatientWeight is above 1000 and taken as g"),
    "dose": (no_drug(RadionuclideTotalDose=350), "below 10000 and taken as MBq"),
    "date": (at("20250102000500") | given("20250102233500"), "taken a day earlier"),
    "made up": (given("19000101100000"), "its date is taken as wrong"),
    "zone": (given("20250101100000+0100"), "states a time zone"),
    "no corrections": ({"CorrectedImage": None}, "attenuation is taken as corrected"),
}


@pytest.mark.parametrize("name", WARNED)
def test_warnings(tmp_path, caplog, name):
    changes, text = WARNED[name]
    volume = dicom.read(write(tmp_path, **changes))
    caplog.clear()
    petrt.suv.factors(volume)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert re.search(text, record.getMessage())
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("name", ["start", "start, beds", "none, beds", "series before", "g/ml"])
def test_no_warning_where_all_agree(tmp_path, caplog, name):
    volume = dicom.read(write(tmp_path, **CASES[name].changes))
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "petrt"):
        petrt.suv.factors(volume)
    assert caplog.records == []


def test_only_dicom_has_suv(tmp_path):
    volume = dicom.read(write(tmp_path / "series"))
    nifti.write(tmp_path / "a.nii", volume.data, volume)
    with pytest.raises(InputError, match="no DICOM series"):
        petrt.suv.factors(nifti.read(tmp_path / "a.nii"))
    with pytest.raises(UsageError, match="suv is 'peak'"):
        petrt.suv.factors(volume, "peak")


def test_display(tmp_path):
    volume = dicom.read(write(tmp_path / "a"))
    shown = petrt.suv.display(volume)
    assert shown.unit == "SUVbw (g/ml)"
    np.testing.assert_allclose(shown.of(volume.data), 1000 * HOUR, rtol=1e-6)
    units = {"BQML": "Bq/ml", "CPS": "counts/s", "CNTS": "counts", "GML": "g/ml"}
    for field, unit in units.items():
        changes = {
            "Units": field,
            "PatientWeight": None,
            "SUVType": "MAX" if field == "GML" else None,
        }
        other = dicom.read(write(tmp_path / field, **changes))
        assert petrt.suv.display(other).unit == unit


def test_voxels_of_one_slice_hold_its_thickness(tmp_path):
    """A series of one slice has no distance of slices."""
    paths = sorted(
        write(tmp_path, Units="CPS", DoseCalibrationFactor=7, NumberOfSlices=1).iterdir()
    )
    for path in paths[1:]:
        path.unlink()
    change(paths[0], SliceThickness=6)
    volume = dicom.read(tmp_path)
    np.testing.assert_allclose(petrt.suv.factors(volume), 7 * HOUR / (2 * VOXEL_ML), rtol=1e-6)
