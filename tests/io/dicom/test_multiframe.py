"""Enhanced and Legacy Converted Enhanced PET: frames in one file, with their fields in functional groups."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from petrt.errors import InputError
from petrt.io.dicom import series as dicom
from tests.io.dicom.multiframe import SHAPE, enhanced


def test_enhanced_pet_reads_as_its_slices(tmp_path):
    path = enhanced(tmp_path / "in" / "DOE.dcm", tmp_path)
    expected = dicom.read(tmp_path / "single")
    for source in (path, path.parent, [path]):
        volume = dicom.read(source)
        np.testing.assert_array_equal(volume.data, expected.data)
        np.testing.assert_array_equal(volume.affine, expected.affine)
    assert volume.series is not None
    assert volume.series.units == "BQML"
    (planes,) = volume.series.frames
    assert sorted(plane.index for plane in planes) == list(range(7))
    first = planes[0].header
    assert (first.text("AcquisitionDate"), first.text("AcquisitionTime")) == (
        "20000101",
        "101112.50",
    )
    assert first.text("DecayCorrection") == "START"
    assert first.words("CorrectedImage") == ("DECY", "ATTN")
    assert first.numbers("ActualFrameDuration") == (60000,)
    with first.file.open() as stream:
        stored = pydicom.dcmread(stream).pixel_array[planes[0].index]
    slope = first.numbers("RescaleSlope")[0]
    np.testing.assert_allclose(volume.data[:, :, 0], stored.T * slope, rtol=1e-6)


def test_times_of_enhanced_pet_are_frames(tmp_path):
    path = enhanced(tmp_path / "in" / "x.dcm", tmp_path, times=3)
    volume = dicom.read(path)
    single = dicom.read(tmp_path / "single").data
    assert volume.data.shape == (*SHAPE, 3)
    for t in range(3):
        np.testing.assert_allclose(volume.data[..., t], single * (t + 1), rtol=1e-6)
    assert volume.header["pixdim"][4] == 3600
    (info,) = dicom.inspect(path)
    assert (info.slices, info.frames, info.units, info.pet) == (7, 3, "BQML", True)


def test_gates_of_legacy_converted_pet(tmp_path):
    """Its original fields are in groups of unassigned attributes."""
    path = enhanced(tmp_path / "in" / "x.dcm", tmp_path, times=2, legacy=True)
    volume = dicom.read(path)
    single = dicom.read(tmp_path / "single").data
    assert volume.series is not None
    assert volume.series.units == "CNTS"
    for t in range(2):
        np.testing.assert_allclose(volume.data[..., t], single * (t + 1), rtol=1e-6)


def test_compressed_frames_are_decoded_one_by_one(tmp_path):
    path = enhanced(tmp_path / "in" / "x.dcm", tmp_path, times=2)
    plain = dicom.read(path).data
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(dicom.read(path).data, plain)


@pytest.mark.parametrize(
    ("code", "units"),
    [("g/ml{SUVbw}", "GML"), ("{SUVbsa}cm2/ml", "CM2ML"), ("{counts}/s", "CPS"), ("g/ml", "GML")],
)
def test_units_of_real_world_values(tmp_path, code, units):
    volume = dicom.read(enhanced(tmp_path / "in" / "x.dcm", tmp_path, code=code))
    assert volume.series is not None
    assert volume.series.units == units


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code": "{propcounts}"}, "Units is PROPCNTS"),
        ({"code": "furlong"}, "Units is absent"),
        ({"AttenuationCorrected": "NO"}, "lacks ATTN"),
        ({"NumberOfFrames": 6}, "6 frames, of which .* describes 7"),
        ({"NumberOfFrames": 0}, "NumberOfFrames is 0"),
        ({"PerFrameFunctionalGroupsSequence": []}, "7 frames, of which .* describes 0"),
        ({"PixelData": bytes(100)}, "truncated: expected 1008 bytes of pixels, found 1"),
        ({"SharedFunctionalGroupsSequence": []}, "ImageOrientationPatient is absent"),
    ],
)
def test_what_is_refused(tmp_path, changes, words):
    path = enhanced(tmp_path / "in" / "x.dcm", tmp_path, **changes)
    with pytest.raises(InputError, match=words):
        dicom.read(path)


def test_a_scan_without_decay_correction_says_so(tmp_path):
    path = enhanced(tmp_path / "in" / "x.dcm", tmp_path, DecayCorrected="NO")
    volume = dicom.read(path)
    assert volume.series is not None
    assert volume.series.frames[0][0].header.text("DecayCorrection") == "NONE"


def test_single_slices_among_many(tmp_path):
    path = enhanced(tmp_path / "in" / "x.dcm", tmp_path)
    with pytest.raises(InputError, match="files of one slice and of many"):
        dicom.read([path, *sorted((tmp_path / "single").iterdir())])
