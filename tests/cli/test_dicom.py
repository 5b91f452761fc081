"""DICOM series as inputs of the commands and of Python: found, chosen, reconstructed, described, compared."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

import petrt
from petrt.cli.app import run
from petrt.cli.find import each_series, find
from petrt.errors import InputError, UsageError
from petrt.io import nifti
from petrt.io.dicom import series as dicom
from tests.helpers import contents
from tests.io.dicom.dicom_files import SERIES, write_series

AFFINE = np.array([[-4.0, 0, 0, 30], [0, -4, 0, 40], [0, 0, 4, -10], [0, 0, 0, 1]])
SHAPE = (17, 22, 4)
DATA = np.random.default_rng(0).gamma(2, 300, SHAPE)
OTHER = "1.2.7"


@pytest.fixture
def study(tmp_path) -> Path:
    """A PET series with its CT."""
    folder = tmp_path / "study"
    write_series(folder / "pet", DATA, AFFINE)
    write_series(folder / "ct", DATA[:, :, :3], AFFINE, Modality="CT", SeriesInstanceUID="1.2.6")
    return folder


@pytest.fixture
def two(study) -> Path:
    """The same, with a second PET series."""
    uid = "1.2.77.{}".format
    write_series(study / "b", DATA * 2, AFFINE, SeriesInstanceUID=OTHER, SOPInstanceUID=uid)
    return study


@pytest.fixture
def cli(tiny_bundle, capsys):
    """Run a command with the model of random weights; exit code, stdout and stderr."""

    def call(command: str, *arguments: object) -> tuple[int, str, str]:
        more: list[str] = []
        if command == "reconstruct":
            more = ["--model", str(tiny_bundle), "--threads", "1", "--steps", "2"]
            more.append("--allow-activity-change")
        code = run([command, *map(str, arguments), *more])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def zipped(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*.dcm")):
            archive.write(path, path.relative_to(folder))
    return target


def test_a_study_is_one_case_whose_result_is_that_of_its_nifti(cli, study, tmp_path):
    before = contents(study)
    volume = dicom.read(study)
    nifti.write(tmp_path / "same.nii.gz", volume.data, volume)
    for k, source in enumerate((tmp_path / "same.nii.gz", study, zipped(study))):
        code, _, text = cli("reconstruct", source, tmp_path / f"{k}.nii.gz")
        assert code == 0, text
    expected = nibabel.load(tmp_path / "0.nii.gz")
    for k in (1, 2):
        image = nibabel.load(tmp_path / f"{k}.nii.gz")
        np.testing.assert_array_equal(image.get_fdata(), expected.get_fdata())
        np.testing.assert_array_equal(image.affine, expected.affine)
    assert contents(study) == before


def test_several_series_are_listed_chosen_or_all_taken(cli, two, tmp_path):
    code, _, text = cli("reconstruct", two, tmp_path / "x.nii.gz")
    assert code == 3
    assert f"2 DICOM PET series: {OTHER} (PT, 4 files), {SERIES} (PT, 4 files)" in text
    assert f"--series {OTHER} chooses the first, --all-series takes all" in text
    assert not (tmp_path / "x.nii.gz").exists()
    code, _, text = cli("reconstruct", two, tmp_path / "x.nii.gz", "--series", OTHER)
    assert code == 0, text
    everything = ("reconstruct", two, tmp_path / "all", "--all-series", "--out-format", "nifti")
    code, _, text = cli(*everything)
    assert code == 0, text
    names = sorted(path.name for path in (tmp_path / "all").glob("*.nii.gz"))
    assert names == [f"study_{SERIES}.nii.gz", f"study_{OTHER}.nii.gz"]
    one = nibabel.load(tmp_path / "x.nii.gz").get_fdata()
    np.testing.assert_array_equal(
        nibabel.load(tmp_path / "all" / f"study_{OTHER}.nii.gz").get_fdata(), one
    )
    code, _, text = cli(*everything)
    assert code == 0
    assert "2 of 2 cases are done already" in text


def test_folders_of_studies(cli, study, tmp_path):
    """One of two is broken: the other is done."""
    for name in ("a", "b"):
        shutil.copytree(study, tmp_path / "all" / name)
    next((tmp_path / "all" / "b" / "pet").iterdir()).unlink()
    folders = [tmp_path / "all" / name for name in ("a", "b")]
    code, _, text = cli("reconstruct", *folders, tmp_path / "out")
    assert code == 5
    assert "failed: b: series 1.2.3.4: 3 slices, DICOM field NumberOfSlices is 4" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a",
        "cases.json",
        "cases.tsv",
    ]
    code, out, _ = cli("reconstruct", *folders, tmp_path / "out", "--dry-run")
    assert code == 5
    assert "a: done already" in out
    assert "would fail: series 1.2.3.4" in out


def test_a_dry_run_reads_headers(cli, study, tmp_path):
    code, out, text = cli("reconstruct", study, tmp_path / "x.nii.gz", "--dry-run")
    assert code == 0, text
    assert "17 x 22 x 4 voxels" in out


def test_no_output_in_the_folder_of_the_input(cli, study):
    code, _, text = cli("reconstruct", study, study / "x.nii.gz")
    assert code == 2
    assert "lies in the input's own folder" in text


def test_units_that_are_not_quantitative(cli, tmp_path):
    write_series(tmp_path / "s", DATA, AFFINE, Units="PROPCNTS")
    code, _, text = cli("reconstruct", tmp_path / "s", tmp_path / "x.nii.gz")
    assert code == 3
    assert "Units is PROPCNTS, which is not quantitative; --force-units uses" in text
    code, _, text = cli("reconstruct", tmp_path / "s", tmp_path / "x.nii.gz", "--force-units")
    assert code == 0, text
    assert "values are used unchanged" in text


def test_inputs_are_found(study, tmp_path):
    archive = zipped(study)
    assert find([study]) == ([study], False)
    assert find([archive]) == ([archive], False)
    assert find([study, archive]) == ([study, archive], True)
    assert find([tmp_path / "stu*"]) == ([study, archive], True)
    nibabel.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)).to_filename(study / "x.nii")
    assert find([study]) == ([study / "x.nii"], True)  # as ever: a folder of NIfTI files


def test_the_series_of_each_source(two, study, tmp_path):
    write_series(tmp_path / "one", DATA, AFFINE)
    one, image = tmp_path / "one", tmp_path / "x.nii"
    assert each_series([two, one, image], None, False) == ([two, one, image], [None] * 3)
    expected = ([two, two, one, image], [OTHER, SERIES, SERIES, None])
    assert each_series([two, one, image], None, True) == expected
    expected = ([two, one, image], [OTHER, SERIES, None])
    assert each_series([two, one, image], [OTHER], False) == expected
    with pytest.raises(InputError, match=r"no series '1\.2\.8'"):
        each_series([one], ["1.2.8"], False)
    with pytest.raises(InputError, match=r"^--series 1\.2\.8: no such series; petrt inspect"):
        each_series([two, one], [OTHER, "1.2.8"], False)
    with pytest.raises(UsageError, match="both --series and --all-series"):
        each_series([two], [OTHER], True)


def test_inspect_describes_one_series_and_lists_several(cli, study, two):
    code, out, text = cli("inspect", two, "--json")
    assert code == 0, text
    listed = {each["series"]: each for each in json.loads(out)}
    assert set(listed) == {SERIES, OTHER, "1.2.6"}
    assert listed[OTHER]["pet"] is True
    assert listed["1.2.6"]["modality"] == "CT"
    assert [listed[SERIES][key] for key in ("columns", "rows", "slices", "frames")] == [*SHAPE, 1]
    assert "DOE" not in out
    code, out, _ = cli("inspect", two, "--series", OTHER, "--json")
    (facts,) = json.loads(out)
    assert (facts["series"], facts["units"], facts["shape"]) == (OTHER, "BQML", list(SHAPE))
    code, out, _ = cli("inspect", two, "--all-series", "--json")
    assert len(json.loads(out)) == 2
    shutil.rmtree(study / "b")
    code, out, _ = cli("inspect", study)
    assert code == 0
    assert "DICOM PET series, 4 slices, units BQML" in " ".join(out.split())


def test_inspect_of_a_model_is_as_before(cli, tiny_bundle, tmp_path):
    assert cli("inspect", tiny_bundle)[0] == 0
    code, _, text = cli("inspect", tiny_bundle, "--all-series")
    assert code == 2
    assert "are for DICOM" in text
    (tmp_path / "empty").mkdir()
    assert cli("inspect", tmp_path / "empty")[0] == 3


def test_evaluate_compares_series_with_volumes(cli, two, tmp_path):
    volume = dicom.read(two, series=SERIES)
    nifti.write(tmp_path / "same.nii.gz", volume.data, volume)
    arguments = ("--series", SERIES, "--json", tmp_path / "e.json")
    code, _, text = cli("evaluate", two, tmp_path / "same.nii.gz", *arguments)
    assert code == 0, text
    record = json.loads((tmp_path / "e.json").read_text())
    assert record["frames"][0]["activity_ratio"] == 1
    assert len(record["inputs"]["prediction"]["sha256"]) == 64
    code, _, text = cli("evaluate", two, tmp_path / "same.nii.gz")
    assert code == 3
    assert "--series" in text
    assert "--all-series" not in text
    write_series(tmp_path / "suv", DATA, AFFINE, Units="GML")
    code, _, text = cli("evaluate", tmp_path / "suv", two, "--series", SERIES)
    assert code == 3
    assert "suv is in g/ml, study in Bq/ml" in text


def test_python_takes_series(two, study, tiny_bundle, tmp_path):
    options = {"model": tiny_bundle, "steps": 2, "allow_activity_change": True}
    with pytest.raises(InputError, match=f"2 DICOM PET series.*series='{OTHER}'"):
        petrt.reconstruct(study, **options)
    result = petrt.reconstruct(study, series=SERIES, out=tmp_path / "x.nii.gz", **options)
    written = nibabel.load(tmp_path / "x.nii.gz").get_fdata()
    np.testing.assert_array_equal(result.get_fdata(), written)
    files = sorted((study / "pet").iterdir())
    again = petrt.reconstruct(files, **options)
    np.testing.assert_array_equal(again.get_fdata(), written)
    reconstructor = petrt.Reconstructor(**options)
    third = reconstructor(study, series=SERIES).image
    np.testing.assert_array_equal(third.get_fdata(), written)
    with pytest.raises(UsageError, match="has no series to choose"):
        reconstructor(DATA, series=SERIES)
    with pytest.raises(UsageError, match="not DICOM"):
        reconstructor(tmp_path / "x.nii.gz", series=SERIES)
    with pytest.raises(UsageError, match="own folder"):
        petrt.reconstruct(study, series=SERIES, out=study / "x.nii.gz", **options)
