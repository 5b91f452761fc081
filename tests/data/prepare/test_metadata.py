"""The challenge's table of NIfTI files, and its known cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from petrt.data.prepare import Options, prepare
from petrt.data.prepare.doses import drf_in
from petrt.data.prepare.known import LEFT_OUT, known_file, read_names, without
from petrt.data.prepare.metadata import contradictions, read_metadata
from petrt.data.prepare.scan import FoundScan, Scan
from petrt.errors import InputError
from tests.data.prepare.scans import refusals, save, scan

HEADER = (
    "SubjectID,DoseReductionFactor,NiftiFileName,PatientWeight_kg,ImageUnits,SliceThickness_mm,"
    "ManufacturerModelName,RadiopharmaceuticalName,TimeFromInjectionToAcquisition_s,"
    "RadionuclideTotalDose_Bq,RadionuclideHalfLife_s,DecayCorrection\n"
)


def row(file: str, drf: str = "50", weight: str = "70", bq: str = "2e8", decay: str = "START"):
    return f"Anonymous-01,{drf},{file},{weight},BQML,2.886,uEXPLORER,FDG,6588,{bq},6588,{decay}\n"


@pytest.fixture
def table(tmp_path):
    def write(*rows: str, header: str = HEADER) -> Path:
        path = tmp_path / "info.csv"
        path.write_text(header + "".join(rows))
        return path

    return write


def test_the_columns_of_the_test_set(table):
    rows = read_metadata(table(row("Anonymous-01_DRF-50.nii.gz"), row("B.nii", "4", decay="ADMIN")))
    assert set(rows) == {"anonymous-01_drf-50", "b"}
    first, second = rows.values()
    assert (first.dose, first.unit, first.tracer) == (50, "BQML", "FDG")
    # One half-life after the injection half is left; with ADMIN the image is corrected to the injection.
    assert first.suv_factor == pytest.approx(70e3 / 1e8)
    assert second.suv_factor == pytest.approx(70e3 / 2e8)


def test_the_columns_of_the_evaluation_script(table):
    (only,) = read_metadata(table("x,70,1e8\n", header="PID,weight,dose\n")).values()
    assert only.suv_factor == pytest.approx(7e-4)
    assert only.dose is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a.nii", weight="-3")], "line 2: weight_kg is '-3'; a number between"),
        ([row("a.nii", weight="x")], "line 2: weight_kg"),
        ([row("a.nii", bq="")], "line 2: no activity_bq"),
        ([row("a.nii", drf="1/50")], "line 2: dose reduction"),
        ([row("a.nii", decay="NONE")], "line 2: images without decay correction"),
        ([row("a.nii"), row("A.nii.gz")], "line 3: a file that an earlier line names"),
    ],
)
def test_a_wrong_cell_is_named_by_its_line(table, rows, message):
    with pytest.raises(InputError) as caught:
        read_metadata(table(*rows))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"), [("", "empty"), ("file,weight\n", "no column of injected activities")]
)
def test_a_table_without_the_columns(table, header, message):
    with pytest.raises(InputError, match=message):
        read_metadata(table(header=header))


def test_what_cannot_be_is_a_contradiction(table):
    (only,) = read_metadata(table(row("a.nii"))).values()
    assert contradictions(only, 1e8, 70e3) == []
    more, light = contradictions(only, 1.5e8, 150e3)
    assert "1.5 times the activity" in more
    assert "a body of 150 l weighs 70 kg" in light


def source(folder: Path, bq_scale: float = 1.0) -> Path:
    for k in range(3):
        for name, dose in (("Full_dose", 1), ("DRF-20", 20), ("DRF-100", 100)):
            save(folder / f"Anonymous-{k:02}_{name}.nii.gz", bq_scale * scan(k, dose))
    return folder


def test_prepare_takes_the_table(tmp_path, table):
    rows = [row(f"Anonymous-{k:02}_Full_dose.nii.gz", "", "60") for k in range(3)]
    rows += [
        row("Anonymous-00_DRF-100.nii.gz", "50"),
        row("Anonymous-01_DRF-20.nii.gz", "20", bq="1e6"),
    ]
    path = table(*rows)
    report = prepare([source(tmp_path / "in")], tmp_path / "out", Options(metadata=path))
    reasons = refusals(report)
    assert "1/100 by its name, 1/50 in the table" in reasons["sub-0000", None]
    assert "the table contradicts the image: the image holds" in reasons["sub-0001", 20]
    assert len(reasons) == 2
    entries = json.loads((tmp_path / "out" / "dataset.json").read_text())["subjects"].values()
    assert [entry["suv_factor"] for entry in entries] == pytest.approx([6e4 / 1e8] * 3)


def test_a_table_of_other_files_is_an_error(tmp_path, table):
    with pytest.raises(InputError, match="names none of the files"):
        prepare(
            [source(tmp_path / "in")], tmp_path / "out", Options(metadata=table(row("other.nii")))
        )


def subject(name: str, *files: str) -> FoundScan:
    scans = tuple(Scan(Path(file), 50) for file in files)
    return FoundScan("challenge", name, name, scans)


def test_known_cases_are_left_out_with_their_reason(caplog):
    tracer = "anonymous_ano_20220224_1711567_102845"
    found = [subject(tracer), subject("Anonymous-06", "Anonymous-06_DRF-50.nii.gz", "b.nii")]
    (kept,) = without(found, {})
    assert [scan.path.name for scan in kept.scans] == ["b.nii"]
    assert "68Ga-DOTA" in caplog.text
    assert "corrupt" in caplog.text
    assert without(found, {}, known=False) == found


def test_a_list_of_ones_own(tmp_path, caplog):
    path = tmp_path / "names.txt"
    path.write_text("# ours\nMrX  # moved in the scanner\nsub_D10.nii.gz\n")
    names = read_names(path)
    found = [subject("mrx"), subject("y", "sub_D10.nii", "z.nii")]
    (kept,) = without(found, names)
    assert (kept.name, [scan.path.name for scan in kept.scans]) == ("y", ["z.nii"])
    assert "moved in the scanner" in caplog.text
    assert "mrx" not in caplog.text.lower()
    with pytest.raises(InputError, match="1 names of the list"):
        without(found[:1], names)


@pytest.mark.parametrize("content", [None, b"# nobody\n", b"\xff\xfe"])
def test_a_list_that_is_none(tmp_path, content):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError):
        read_names(path)


def test_corrupt_files_are_known_by_their_names():
    assert len(LEFT_OUT) == 9
    assert "corrupt" in known_file("Anonymous-48_DRF-50.nii.gz")
    assert known_file("Anonymous-48_DRF-20.nii.gz") == ""


@pytest.mark.parametrize(
    ("name", "dose"),
    [
        ("Anonymous-06_DRF-50.nii.gz", 50),
        ("anonymous-06_drf-100", 100),
        ("Anonymous-06_DRF-50_denoised.nii.gz", None),
        ("Anonymous-06_DRF-1.nii.gz", None),
        ("Anonymous-06_DRF-0.nii", None),
        ("Anonymous-06_DRF-1000.nii", None),
        ("DRF-50.nii.gz", None),
        ("brain_D10.nii.gz", None),
        ("xDRF-50.nii", None),
    ],
)
def test_a_name_of_the_test_set_states_its_dose(name, dose):
    assert drf_in(name) == dose
