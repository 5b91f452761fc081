"""Dynamic, gated and whole-body series: frames in order of time or gate, beds on one clock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petrt.errors import InputError
from petrt.io.dicom import series as dicom
from petrt.io.dicom.timing import time_of_day
from tests.io.dicom.dicom_files import AFFINE, SHAPE, radiopharmaceutical, write_series
from tests.io.dicom.dynamic import FRAMES, HALF_LIFE_S, times, write_frames

ORDERS: dict[str, dict[str, Callable[[int], Any]]] = {
    "acquisition time": {"AcquisitionTime": times},
    "over midnight": {
        "AcquisitionDate": lambda t: "20000102" if t > 1 else "20000101",
        "AcquisitionTime": lambda t: f"{(22 + t) % 24:02}0000",
    },
    "reference time": {"FrameReferenceTime": lambda t: 1e4 * t + 5e3},
    "beds in each pass": {  # the order of beds turns from pass to pass
        "AcquisitionTime": lambda t: (
            lambda k: f"10{10 + 8 * t + (k // 3 if t % 2 else 2 - k // 3):02}00"
        )
    },
    "gates": {
        "SeriesType": lambda t: ["GATED", "IMAGE"],
        "TriggerTime": lambda t: 120.5 * t,
        "AcquisitionTime": lambda t: lambda k: f"10{50 - k:02}00",
    },
    "intervals and gates": {
        "SeriesType": lambda t: ["GATED", "IMAGE"],
        "TriggerTime": lambda t: 100 * (t % 2),
        "ImageIndex": lambda t: lambda k: 7 * t + k + 1,
    },
}


@pytest.mark.parametrize("order", ORDERS)
def test_frames_are_in_order_of_time_or_gate(tmp_path, order):
    write_frames(tmp_path, files_from=1, **ORDERS[order])
    volume = dicom.read(tmp_path)
    assert volume.data.shape == (*SHAPE, FRAMES)
    flat = volume.data.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(flat / flat[0], [1, 2, 3, 4], rtol=1e-2)
    assert volume.series is not None
    for t, frame in enumerate(volume.series.frames):
        uids = [plane.header.text("SOPInstanceUID") for plane in frame]
        places = [plane.header.numbers("ImagePositionPatient", 3)[2] for plane in frame]
        assert {uid.split(".")[2] for uid in uids} == {str(t + 1)}
        assert places == sorted(places)
    (info,) = dicom.inspect(tmp_path)
    assert (info.slices, info.frames) == (SHAPE[2], FRAMES)
    glance = dicom.look(tmp_path)
    assert glance.data.shape == volume.data.shape
    np.testing.assert_array_equal(glance.affine, volume.affine)


def test_even_frames_give_their_step_to_the_header(tmp_path):
    write_frames(tmp_path / "even", AcquisitionTime=times)
    assert dicom.read(tmp_path / "even").header["pixdim"][4] == 300
    assert dicom.read(tmp_path / "even").header.get_xyzt_units() == ("mm", "sec")
    uneven = lambda t: ["100000", "100010", "100100", "101000"][t]  # noqa: E731
    write_frames(tmp_path / "uneven", AcquisitionTime=uneven)
    assert dicom.read(tmp_path / "uneven").header["pixdim"][4] != 10


def test_a_frame_that_lacks_a_slice(tmp_path):
    write_frames(tmp_path, AcquisitionTime=times)
    next((tmp_path / "2").iterdir()).unlink()
    with pytest.raises(InputError, match=r"27 slices at 7 places, 3 to 4 at each: .*lack slices"):
        dicom.read(tmp_path)


def test_frames_that_the_header_counts(tmp_path, caplog):
    kind = {"SeriesType": lambda t: ["DYNAMIC", "IMAGE"], "NumberOfTimeSlices": lambda t: 5}
    write_frames(tmp_path, AcquisitionTime=times, **kind)
    assert dicom.read(tmp_path).data.shape[3] == FRAMES
    assert "NumberOfTimeSlices is 5, frames here: 4" in caplog.text


def beds(folder: Path, **changes: Any) -> np.ndarray:
    """Two beds of a uniform object, the second 600 s later and not corrected for decay; the volume."""
    decay = np.where(np.arange(SHAPE[2]) < 4, 1.0, 2 ** (-600 / HALF_LIFE_S))
    data = np.full(SHAPE, 5000.0) * decay
    fields: dict[str, Any] = {
        "AcquisitionTime": lambda k: "101000" if k < 4 else "102000",
        "DecayCorrection": "NONE",
        "ActualFrameDuration": 120000,
        "RadiopharmaceuticalInformationSequence": radiopharmaceutical(HALF_LIFE_S),
        "RescaleSlope": 0.5,
    }
    write_series(folder, data, AFFINE, **{**fields, **changes})
    return data


def test_beds_that_are_not_decay_corrected_come_to_one_clock(tmp_path, caplog):
    data = beds(tmp_path)
    with caplog.at_level(logging.INFO, "petrt"):
        volume = dicom.read(tmp_path)
    np.testing.assert_allclose(volume.data, 5000, rtol=1e-4)
    assert "slices of 2 acquisition times are brought to the earliest, by factors up to 1.065" in (
        caplog.text
    )
    assert volume.series is not None
    (planes,) = volume.series.frames
    factors = np.array([plane.factor for plane in planes])
    np.testing.assert_array_equal(factors[:4], 1)
    np.testing.assert_allclose(factors[4:], 2 ** (600 / HALF_LIFE_S))
    np.testing.assert_allclose(volume.data / factors, data, atol=0.26)


def test_longer_beds_decay_during_their_acquisition(tmp_path):
    """m(T) of the second bed over that of the first."""
    beds(tmp_path, ActualFrameDuration=lambda k: 120000 if k < 4 else 240000)
    volume = dicom.read(tmp_path)
    mean = lambda x: x / (1 - np.exp(-x))  # noqa: E731
    rate = np.log(2) / HALF_LIFE_S
    expected = 5000 * mean(240 * rate) / mean(120 * rate)
    np.testing.assert_allclose(volume.data[:, :, 5], expected, rtol=1e-4)


def test_times_of_day_on_both_sides_of_midnight(tmp_path):
    beds(tmp_path, AcquisitionDate=None, AcquisitionTime=lambda k: "235500" if k < 4 else "000500")
    np.testing.assert_allclose(dicom.read(tmp_path).data, 5000, rtol=1e-4)


@pytest.mark.parametrize("kind", ["START", "ADMIN"])
def test_beds_that_are_decay_corrected_stay_as_they_are(tmp_path, kind):
    data = beds(tmp_path, DecayCorrection=kind)
    np.testing.assert_allclose(dicom.read(tmp_path).data, data, atol=0.26)


@pytest.mark.parametrize(
    ("words", "corrected"), [(["DECY", "ATTN"], True), (["ATTN"], False), (None, True)]
)
def test_without_the_field_the_list_of_corrections_decides(tmp_path, caplog, words, corrected):
    data = beds(tmp_path, DecayCorrection=None, CorrectedImage=words)
    expected = data if corrected else np.full(SHAPE, 5000)
    np.testing.assert_allclose(dicom.read(tmp_path).data, expected, rtol=1e-4)
    assert ("are taken as corrected for decay" in caplog.text) == (words is None)


def test_one_acquisition_time_needs_no_correction(tmp_path):
    data = beds(tmp_path, AcquisitionTime="101000", RadiopharmaceuticalInformationSequence=None)
    np.testing.assert_allclose(dicom.read(tmp_path).data, data, atol=0.26)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"RadiopharmaceuticalInformationSequence": None}, "RadionuclideHalfLife is absent"),
        ({"RadiopharmaceuticalInformationSequence": radiopharmaceutical(0)}, "HalfLife is absent"),
        ({"AcquisitionTime": lambda k: "101000" if k < 6 else None}, "absent in 1 files"),
        ({"AcquisitionTime": lambda k: "101000" if k < 6 else "DOE"}, "absent in 1 files"),
        ({"DecayCorrection": lambda k: "NONE" if k < 4 else "START"}, "differ in DecayCorrection"),
        (
            {"AcquisitionDate": lambda k: "20000101" if k < 4 else "20000103"},
            "slices are 173400 s apart; check AcquisitionTime",
        ),
    ],
)
def test_beds_that_cannot_come_to_one_clock(tmp_path, changes, words):
    beds(tmp_path, **changes)
    with pytest.raises(InputError, match=words) as caught:
        dicom.read(tmp_path)
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 36000), ("1011", 36660), ("101112", 36672), ("101112.5", 36672.5), ("10:11:12", 36672)],
)
def test_times_of_all_lengths(text, seconds):
    assert time_of_day(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "246000", "10:11:12:13", "DOE", "1011\uff112", "-01112"])
def test_what_is_no_time(text):
    assert time_of_day(text) is None
