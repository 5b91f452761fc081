"""Pictures of DICOM series are in SUV where it can be formed; the stored result never is."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from petrt.cli.app import run
from petrt.evaluation.report import picture
from petrt.files.atomic import atomic_write_bytes
from petrt.io.dicom import series as dicom
from tests.helpers import write_nifti
from tests.suv.cases import HOUR
from tests.suv.series_files import write


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn: unit and columns of each picture."""
    pictures = []

    def keep(path, columns, *, unit="", **options):
        pictures.append((unit, columns))
        atomic_write_bytes(path, b"", overwrite=True)

    monkeypatch.setattr(picture, "save_comparison", keep)
    return pictures


def reconstruct(bundle, source, tmp_path) -> int:
    options = ["--model", str(bundle), "--samples", "2", "--allow-activity-change", "--overwrite"]
    outputs = ["--preview", str(tmp_path / "p.png"), "--std", str(tmp_path / "std.nii.gz")]
    return run(["reconstruct", str(source), str(tmp_path / "out.nii.gz"), *options, *outputs])


def test_in_suv(tmp_path, tiny_bundle, drawn):
    write(tmp_path / "series", shape=(12, 11, 6))
    assert reconstruct(tiny_bundle, tmp_path / "series", tmp_path) == 0
    ((unit, columns),) = drawn
    assert unit == "SUVbw (g/ml)"
    np.testing.assert_allclose(columns["input"].volume, 1000 * HOUR, rtol=1e-6)
    for title, name in (("output", "out"), ("std of the samples", "std")):
        stored = nibabel.load(tmp_path / f"{name}.nii.gz").get_fdata()
        np.testing.assert_allclose(columns[title].volume, stored * HOUR, rtol=1e-5, atol=1e-9)


def test_in_the_unit_of_the_file_and_why(tmp_path, tiny_bundle, drawn, capsys):
    write(tmp_path / "series", shape=(12, 11, 6), PatientWeight=None)
    assert reconstruct(tiny_bundle, tmp_path / "series", tmp_path) == 0
    ((unit, columns),) = drawn
    assert unit == "Bq/ml"
    np.testing.assert_array_equal(columns["input"].volume, dicom.read(tmp_path / "series").data)
    assert "p.png: in Bq/ml: series 1.2.3.4: no SUV: DICOM field PatientWeight is absent" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("unit", ["kBq/mL", ""])
def test_of_nifti(tmp_path, tiny_bundle, drawn, capsys, unit):
    volume = np.random.default_rng(0).gamma(2, 100, (8, 8, 4)).astype(np.float32)
    path = write_nifti(tmp_path / "in.nii.gz", volume)
    if unit:
        (tmp_path / "in.json").write_text(f'{{"Units": "{unit}"}}')
    assert reconstruct(tiny_bundle, path, tmp_path) == 0
    assert [each for each, _ in drawn] == [unit]
    assert "SUV" not in capsys.readouterr().err


def test_a_picture_says_what_it_is_of(tmp_path, tiny_bundle, monkeypatch):
    said = []

    def keep(path, columns, *, title, notes, **options):
        said.append((title, *notes))
        atomic_write_bytes(path, b"", overwrite=True)

    monkeypatch.setattr(picture, "save_comparison", keep)
    data = np.random.default_rng(0).gamma(2, 300, (12, 11, 6)).astype(np.float32)
    write_nifti(tmp_path / "low.nii.gz", data)
    write(tmp_path / "series", shape=(12, 11, 6))
    for source in ("low.nii.gz", "series"):
        assert reconstruct(tiny_bundle, tmp_path / source, tmp_path) == 0
    (file, note), (series, other) = said
    assert file == "low.nii.gz"
    assert note.startswith("model tiny")
    assert "2 samples, seed 0 · unit unknown · petrt " in note
    assert series == "DICOM series"  # its folder may be named after a patient
    assert "SUVbw (g/ml)" in other
