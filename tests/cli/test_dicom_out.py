"""DICOM in, DICOM out: by the command and from Python, one series or many, with records and resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

import petrt
from petrt.cli.app import run
from petrt.errors import UsageError
from petrt.io.dicom import series as dicom
from petrt.io.dicom.writer import derived_key
from tests.io.dicom.clinical import clinical

ACTIVITY = np.random.default_rng(0).gamma(2.0, 300.0, (17, 22, 4)).astype(np.float32)


@pytest.fixture
def cli(tiny_bundle: Path, tmp_path, monkeypatch, capsys) -> Any:
    """Runs reconstruct with the tiny model and two samples: exit code, stdout, stderr."""
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    options = ["--model", tiny_bundle, "--steps", 2, "--allow-activity-change", "--samples", 2]

    def call(*arguments: Any) -> tuple[int, str, str]:
        code = run(["reconstruct", *map(str, arguments), *map(str, options)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    clinical(tmp_path / "scan", ACTIVITY)
    return tmp_path / "scan"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_series_gives_a_series(cli, scan, tmp_path):
    before = contents(scan)
    out, std = tmp_path / "out", tmp_path / "std"
    code, _, text = cli(scan, out, "--std", std, "--json", tmp_path / "run.json")
    assert code == 0, text
    assert "out: activity ratio" in text
    code, _, text = cli(scan, tmp_path / "x.nii.gz", "--std", tmp_path / "std.nii.gz")
    assert code == 0, text
    for folder, name in ((out, "x.nii.gz"), (std, "std.nii.gz")):
        volume, image = dicom.read(folder), nibabel.load(tmp_path / name)
        np.testing.assert_array_equal(volume.affine, image.affine)
        data = image.get_fdata()
        step = np.abs(data).max(axis=(0, 1)) / 32767 * 1.25
        assert (np.abs(volume.data - data) <= 0.5 * step).all()
        first = pydicom.dcmread(folder / "0001.dcm")
        assert first.StudyInstanceUID == "1.2.826.0.1.1"
        assert "petrt" in first.SeriesDescription
        assert "2 samples of" in first.DerivationDescription
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["key"] == derived_key(out) == derived_key(std)
    assert contents(scan) == before


def test_the_coarse_prediction_is_a_series_of_its_own(cli, scan, tmp_path):
    names = ("out", "std", "coarse")
    out, std, coarse = (tmp_path / name for name in names)
    options = ("--strength", 0.5, "--samples", 2)
    code, _, text = cli(scan, out, "--std", std, "--coarse", coarse, *options)
    assert code == 0, text
    first = {each: pydicom.dcmread(tmp_path / each / "0001.dcm") for each in names}
    assert len({each.SeriesInstanceUID for each in first.values()}) == 3
    assert len({each.SeriesNumber for each in first.values()}) == 3
    assert "petrt coarse" in first["coarse"].SeriesDescription
    assert "coarse prediction alone" in first["coarse"].DerivationDescription
    assert "strength" not in first["coarse"].DerivationDescription
    for each in ("out", "std"):
        assert "strength 0.5" in first[each].DerivationDescription
    assert derived_key(out) == derived_key(std) == derived_key(coarse)
    # Named as NIfTI it is the same prediction; and with the preset, the image itself.
    code, _, text = cli(scan, tmp_path / "x.nii.gz", "--coarse", tmp_path / "c.nii.gz")
    assert code == 0, text
    given = nibabel.load(tmp_path / "c.nii.gz").get_fdata()
    assert given.min() >= 0
    step = np.abs(given).max(axis=(0, 1)) / 32767 * 1.25
    assert (np.abs(dicom.read(coarse).data - given) <= 0.5 * step).all()


def test_two_runs_and_python_give_the_same_bytes(cli, scan, tiny_bundle, tmp_path):
    for name in "ab":
        code, _, text = cli(scan, tmp_path / name)
        assert code == 0, text
    image = petrt.reconstruct(
        scan, tmp_path / "c", model=tiny_bundle, steps=2, samples=2, allow_activity_change=True
    )
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")
    assert image.shape == ACTIVITY.shape
    with pytest.raises(UsageError, match="the output exists; overwrite=True replaces it"):
        petrt.reconstruct(scan, tmp_path / "c", model=tiny_bundle)
    with pytest.raises(UsageError, match="compress is 'zip'"):
        petrt.reconstruct(scan, tmp_path / "d", model=tiny_bundle, compress="zip")


def test_the_format_is_what_came_in_unless_chosen(cli, scan, tmp_path):
    code, _, text = cli(scan, tmp_path / "n", "--out-format", "nifti")
    assert code == 2
    assert "n: not a NIfTI output" in text
    code, _, text = cli(scan, tmp_path / "n.nii.gz", "--out-format", "dicom")
    assert code == 2
    assert "named as NIfTI, and the format is dicom" in text
    code, _, text = cli(scan, tmp_path / "n.nii.gz")
    assert code == 0, text
    code, _, text = cli(tmp_path / "n.nii.gz", tmp_path / "m", "--out-format", "dicom")
    assert code == 2
    assert "n.nii.gz: not DICOM, so there is no series to derive one from" in text
    code, _, text = cli(scan, tmp_path / "y", "--out-format", "jpeg")
    assert code == 2
    assert "nifti" in text
    code, _, text = cli(scan, tmp_path / "y.dcm")
    assert code == 2
    assert "a series is a folder" in text
    code, _, text = cli(scan, tmp_path / "y", "--compress", "zip")
    assert code == 2
    assert "'zip' is not one of 'rle', 'jpegls'" in text
    code, _, text = cli(scan, tmp_path / "z", "--compress", "rle")
    assert code == 0, text
    first = pydicom.dcmread(tmp_path / "z" / "0001.dcm")
    assert first.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.5"


def test_many_series_are_resumed(cli, scan, tmp_path):
    shutil.copytree(scan, tmp_path / "b")
    volume = dicom.read(scan)
    nibabel.Nifti1Image(volume.data, volume.affine).to_filename(tmp_path / "c.nii")
    out, sources = tmp_path / "out", (scan, tmp_path / "b", tmp_path / "c.nii")
    code, _, text = cli(*sources, out, "--std", out)
    assert code == 0, text
    names = [
        "b",
        "b_std",
        "c.nii.gz",
        "c_std.nii.gz",
        "cases.json",
        "cases.tsv",
        "scan",
        "scan_std",
    ]
    assert sorted(path.name for path in out.iterdir()) == names
    code, _, text = cli(*sources, out, "--std", out)
    assert code == 0
    assert "3 of 3 cases are done already" in text
    shutil.rmtree(out / "b_std")
    code, said, _ = cli(*sources, out, "--std", out, "--dry-run")
    assert code == 0
    assert said.count("done already") == 2
    code, _, text = cli(*sources, out, "--std", out)
    assert code == 0, text
    assert "2 of 3 cases are done already" in text
    assert len(contents(out / "b_std")) == 4
    code, _, text = cli(*sources, out, "--std", out, "--seed", 1)
    assert code == 2
    assert "made from another input or with other options" in text
    (out / "b" / "0002.dcm").unlink()  # no longer whole, so not known as ours
    code, _, text = cli(*sources, out, "--std", out)
    assert code == 2


def test_the_deviation_as_a_parametric_map(cli, scan, tmp_path):
    pytest.importorskip("highdicom")
    code, _, text = cli(scan, tmp_path / "out", "--std", tmp_path / "std.dcm")
    assert code == 0, text
    result = pydicom.dcmread(tmp_path / "std.dcm")
    assert result.SOPClassUID.name == "Parametric Map Storage"
    assert result.NumberOfFrames == 4
