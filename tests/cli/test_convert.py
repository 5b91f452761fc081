"""petrt convert: a DICOM series as NIfTI, with its unit and timing and nothing about the patient."""

from __future__ import annotations

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from petrt.cli.app import run
from petrt.io import nifti
from petrt.io.dicom import series as dicom
from tests.io.dicom.dicom_files import PATIENT
from tests.suv.cases import BEDS, HOUR, LATER, NONE
from tests.suv.series_files import CORRECTED, DOSE, HALF_LIFE, SHAPE, drug, write


def convert(source, out, *options) -> int:
    return run(["convert", str(source), str(out), *map(str, options)])


def test_values_and_grid_are_those_of_the_files(tmp_path):
    write(tmp_path / "series")
    before = {path: path.read_bytes() for path in (tmp_path / "series").iterdir()}
    assert convert(tmp_path / "series", tmp_path / "out.nii.gz") == 0
    expected = dicom.read(tmp_path / "series")
    found = nifti.read(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    image = nib.load(tmp_path / "out.nii.gz")
    assert image.get_data_dtype() == np.float32
    assert b"not for diagnostic use" in image.header["descrip"].tobytes()
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "Units": "Bq/mL",
        "Manufacturer": "Maker",
        "DecayCorrection": "START",
        "RadionuclideHalfLife": HALF_LIFE,
        "InjectedRadioactivity": DOSE / 1e6,
        "InjectedRadioactivityUnits": "MBq",
        "FrameDuration": [300.0],
        "ScanStart": 0,
        "FrameTimesStart": [0.0],
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
        "Description": "petrt; not for diagnostic use",
    }
    assert {path: path.read_bytes() for path in (tmp_path / "series").iterdir()} == before


def test_nothing_about_the_patient(tmp_path, capsys):
    write(tmp_path / "series", PatientWeight=71.25)
    assert convert(tmp_path / "series", tmp_path / "out.nii.gz", "--suv", "bw") == 0
    said = capsys.readouterr()
    texts = said.out + said.err + (tmp_path / "out.json").read_text()
    texts += gzip.decompress((tmp_path / "out.nii.gz").read_bytes()).decode("latin1")
    for secret in (PATIENT, "DOE", "71.25", "20250101"):
        assert secret not in texts


@pytest.mark.parametrize(
    ("kind", "unit", "ratio"),
    [
        ("bw", "g/mL", 1),
        ("lbm", "g/mL", 57.8 / 70),
        ("ibw", "g/mL", 72.38 / 70),
        ("bsa", "cm2/mL", 10 * 0.007184 * 175**0.725 * 70**0.425 / 70),
    ],
)
def test_suv(tmp_path, kind, unit, ratio):
    write(tmp_path / "series")
    assert convert(tmp_path / "series", tmp_path / "out.nii", "--suv", kind) == 0
    found = nifti.read(tmp_path / "out.nii")
    np.testing.assert_allclose(found.data, 1000 * HOUR * ratio, rtol=1e-6)
    fields = json.loads((tmp_path / "out.json").read_text())
    assert (fields["Units"], fields["SUVType"]) == (unit, kind.upper())
    assert fields["ImageDecayCorrected"] is True
    assert "DecayCorrection" not in fields


def test_frames_are_the_fourth_axis(tmp_path):
    for t in range(3):
        write(
            tmp_path / "series" / str(t),
            value=1000 * (t + 1),
            AcquisitionTime=f"11{5 * t:02}00",
            FrameReferenceTime=f"{(300 * t + 150) * 1000}",
            SOPInstanceUID=lambda k, t=t: f"1.2.{t + 1}.{k + 1}",
        )
    assert convert(tmp_path / "series", tmp_path / "out.nii.gz", "--suv", "bw") == 0
    found = nifti.read(tmp_path / "out.nii.gz")
    assert found.data.shape == (*SHAPE, 3)
    np.testing.assert_allclose(found.data[2, 2, 2], HOUR * np.array([1e3, 2e3, 3e3]), rtol=1e-6)
    assert found.header["pixdim"][4] == 300
    fields = json.loads((tmp_path / "out.json").read_text())
    assert fields["FrameTimesStart"] == [0, 300, 600]
    assert fields["FrameDuration"] == [300, 300, 300]


def test_beds_without_decay_correction_stay_as_they_are(tmp_path, capsys):
    write(tmp_path / "series", **NONE, **BEDS)
    assert convert(tmp_path / "series", tmp_path / "out.nii") == 0
    np.testing.assert_allclose(nifti.read(tmp_path / "out.nii").data, 1000, rtol=1e-6)
    assert "differ by up to 3.21 % by decay or scale" in capsys.readouterr().err
    assert json.loads((tmp_path / "out.json").read_text())["ImageDecayCorrected"] is False


@pytest.mark.parametrize(
    ("changes", "options", "code", "message"),
    [
        ({"PatientWeight": None}, ["--suv", "bw"], 3, "PatientWeight is absent"),
        (LATER | {"FrameReferenceTime": None}, ["--suv", "bw"], 3, "the start of the scan"),
        ({"Units": "PROPCNTS"}, [], 3, "--force-units"),
        ({"Units": "PROPCNTS"}, ["--force-units", "--suv", "bw"], 3, "not quantitative"),
        ({}, ["--suv", "max"], 2, "'max' is not one of 'bw', 'lbm'"),
        ({}, ["--series", "1.2"], 3, "no series '1.2'"),
        ({}, ["--nonfinite", "keep"], 2, "'keep' is not one of 'refuse', 'zero'"),
    ],
)
def test_refusals_leave_nothing(tmp_path, capsys, changes, options, code, message):
    write(tmp_path / "series", **changes)
    assert convert(tmp_path / "series", tmp_path / "out.nii.gz", *options) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["series"]


def test_forced_units_are_said(tmp_path, capsys):
    words = [word for word in CORRECTED if word != "ATTN"]
    write(tmp_path / "series", CorrectedImage=words)
    assert convert(tmp_path / "series", tmp_path / "out.nii", "--force-units", "--suv", "bw") == 0
    np.testing.assert_allclose(nifti.read(tmp_path / "out.nii").data, 1000 * HOUR, rtol=1e-6)
    assert "SUV is computed nevertheless" in capsys.readouterr().err


def test_outputs_are_kept_or_replaced_together(tmp_path, capsys):
    write(tmp_path / "series")
    (tmp_path / "out.json").write_text("{}")
    assert convert(tmp_path / "series", tmp_path / "out.nii.gz") == 2
    assert "out.json: the output exists; --overwrite" in capsys.readouterr().err
    assert not (tmp_path / "out.nii.gz").exists()
    assert convert(tmp_path / "series", tmp_path / "out.nii.gz", "--overwrite") == 0
    first = [(tmp_path / name).read_bytes() for name in ("out.nii.gz", "out.json")]
    assert convert(tmp_path / "series", tmp_path / "out.nii.gz", "--overwrite") == 0
    assert [(tmp_path / name).read_bytes() for name in ("out.nii.gz", "out.json")] == first


def test_only_dicom_is_converted(tmp_path, capsys):
    write(tmp_path / "series", RadiopharmaceuticalInformationSequence=drug())
    assert convert(tmp_path / "series", tmp_path / "a.nii") == 0
    assert convert(tmp_path / "a.nii", tmp_path / "b.nii") == 3
    assert "a.nii: not a DICOM series" in capsys.readouterr().err
    assert convert(tmp_path / "absent", tmp_path / "b.nii") == 3
    assert convert(tmp_path / "series", tmp_path / "b.img") == 2
    assert not list(tmp_path.glob("b.*"))
