"""Data sets on disk: geometry, description, repeatability, refusals, the command."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from petrt.cli.simulate import simulate
from petrt.data.simulate import dataset as module
from petrt.data.simulate import simulate_subject, write_dataset
from petrt.data.simulate.dataset import RECORDS, nifti_gz, subject_files
from petrt.errors import UsageError
from tests.helpers import contents

GRID = {"shape": (24, 24, 6), "voxel_mm": 10.0}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "new" / "folder"
    write_dataset(out, (3, 4), 11, (100, 20), **GRID)
    return out


def test_volumes_and_geometry(dataset: Path) -> None:
    subject = simulate_subject(11, 3, doses=(20, 100), **GRID)
    expected = {
        "full": subject.full,
        "truth": subject.truth,
        "labels": subject.labels,
        "1to20": subject.low[20],
        "1to100": subject.low[100],
    }
    for key, name in subject_files(3, (20, 100)).items():
        image = nib.Nifti1Image.from_filename(dataset / name)
        data = np.asarray(image.dataobj)
        assert np.array_equal(data, expected[key]), key
        assert image.get_data_dtype() == (np.uint8 if key == "labels" else np.float32)
        np.testing.assert_array_equal(image.affine, subject.affine)
        for form, code in (image.get_qform(coded=True), image.get_sform(coded=True)):
            np.testing.assert_allclose(form, subject.affine, atol=1e-5)
            assert code == 1
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.header.get_zooms() == (10, 10, 10)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert b"not for diagnostic use" in bytes(image.header["descrip"])


def test_file_content_does_not_depend_on_the_clock() -> None:
    content = nifti_gz(np.zeros((2, 3, 4), np.float32), np.eye(4))
    assert content[4:8] == bytes(4)  # the time stamp of the gzip header


def test_workers_and_company_do_not_change_a_subject(dataset: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    write_dataset(tmp_path, (4, 5), 11, (100,), workers=2, progress=seen.append, **GRID)
    assert sorted(seen) == [4, 5]
    for name in subject_files(4, (100,)).values():
        assert (tmp_path / name).read_bytes() == (dataset / name).read_bytes()


def test_existing_outputs_are_kept_unless_told(dataset: Path) -> None:
    before = contents(dataset)
    with pytest.raises(UsageError, match=r"dataset\.json.*overwrite=True"):
        write_dataset(dataset, (3,), 12, (100,), **GRID)
    (dataset / "dataset.json").rename(dataset / "kept.json")
    try:
        with pytest.raises(UsageError, match="sub-0003_rec-full_pet"):
            write_dataset(dataset, (7, 3), 12, (100,), **GRID)
    finally:
        (dataset / "kept.json").rename(dataset / "dataset.json")
    assert contents(dataset) == before


def test_an_interrupted_run_leaves_no_index_and_no_scratch_file(tmp_path: Path) -> None:
    write_dataset(tmp_path, (0,), 1, (100,), **GRID)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, (0, 1), 2, (100,), overwrite=True, progress=stop, **GRID)
    records = {f"{RECORDS}/sub-0000.json", f"{RECORDS}/sub-0001.json"}
    assert {*contents(tmp_path)} - records == {*subject_files(0, (100,)).values()}


def simulated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the subjects that are simulated from now on."""
    numbers: list[int] = []

    def counted(seed: int, number: int, **options):
        numbers.append(number)
        return simulate_subject(seed, number, **options)

    monkeypatch.setattr(module, "simulate_subject", counted)
    return numbers


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, monkeypatch) -> None:
    def stop(number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt

    out, fresh = tmp_path / "out", tmp_path / "fresh"
    with pytest.raises(KeyboardInterrupt):
        write_dataset(out, range(4), 1, (100,), progress=stop, **GRID)
    (out / subject_files(1, (100,))["truth"]).unlink()  # as if it had been killed between two files
    numbers, done = simulated(monkeypatch), []
    write_dataset(out, range(4), 1, (100,), progress=done.append, **GRID)
    assert numbers == [1, 2, 3]
    assert sorted(done) == [0, 1, 2, 3]
    write_dataset(fresh, range(4), 1, (100,), **GRID)
    assert contents(out) == contents(fresh)


def test_what_is_done_is_skipped_by_hash(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(logging.getLogger("petrt"), "propagate", True)
    write_dataset(tmp_path, (0, 1), 1, (100,), **GRID)
    before, numbers = contents(tmp_path), simulated(monkeypatch)
    with caplog.at_level(logging.INFO, "petrt"):
        write_dataset(tmp_path, (0, 1), 1, (100,), **GRID)
    assert "2 of 2 subjects are there already" in caplog.text
    assert (numbers, contents(tmp_path)) == ([], before)
    write_dataset(tmp_path, (0, 1, 2), 1, (100,), **GRID)  # more subjects
    assert numbers == [2]
    write_dataset(tmp_path, (0, 1, 2), 1, (20, 100), **GRID)  # more doses
    assert numbers == [2, 0, 1, 2]
    index = json.loads((tmp_path / "dataset.json").read_text())
    assert (index["subjects"], index["doses"]) == ([0, 1, 2], [20, 100])
    files = {path: hashlib.sha256(data).hexdigest() for path, data in contents(tmp_path).items()}
    assert index["sha256"] == {name: h for name, h in files.items() if name != "dataset.json"}


@pytest.mark.parametrize(
    ("numbers", "seed", "doses", "refused"),
    [
        ((0,), 1, (100,), "dataset.json"),  # would forget subject 1
        ((0, 1), 1, (20,), "dataset.json"),  # would forget a dose
        ((0, 1), 2, (100,), "dataset.json"),
        ((0, 1), 1, (100,), "sub-0001_rec-full"),  # its content has changed
    ],
)
def test_other_files_are_not_skipped(tmp_path: Path, numbers, seed, doses, refused) -> None:
    write_dataset(tmp_path, (0, 1), 1, (100,), **GRID)
    if refused.startswith("sub"):
        (tmp_path / "sub-0001_rec-full_pet.nii.gz").write_bytes(b"mine")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=f"{refused}.* exists"):
        write_dataset(tmp_path, numbers, seed, doses, **GRID)
    assert contents(tmp_path) == before
    write_dataset(tmp_path, numbers, seed, doses, overwrite=True, **GRID)
    assert json.loads((tmp_path / "dataset.json").read_text())["subjects"] == list(numbers)


def test_a_second_run_into_one_folder_is_refused(tmp_path: Path) -> None:
    def meanwhile(_: int) -> None:
        with pytest.raises(UsageError, match="being written by another process"):
            write_dataset(tmp_path, (7,), 2, (100,), **GRID)

    write_dataset(tmp_path, (0,), 1, (100,), progress=meanwhile, **GRID)
    assert {*contents(tmp_path)} == {"dataset.json", *subject_files(0, (100,)).values()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"subjects": ()}, "no subject"),
        ({"doses": (100, 7)}, "a reduction of 7"),
        ({"workers": 0}, "0 workers"),
        ({"subjects": (0, -1)}, "subject is -1"),
    ],
)
def test_bad_requests_write_nothing(tmp_path: Path, change: dict, words: str) -> None:
    out = tmp_path / "out"
    request = {"subjects": (0,), "seed": 0, **GRID, **change}
    with pytest.raises(UsageError, match=words):
        write_dataset(out, **request)
    assert not out.exists()


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(simulate)
    return app


def test_command(app: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "set"
    options = "--subjects 1 --first 4 --seed 11 --dose 20 --dose 100 --size 24 --voxel-mm 10"
    command = [str(out), *options.split()]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out / "dataset.json")
    index = json.loads((out / "dataset.json").read_text())
    assert (index["subjects"], index["doses"], index["shape"]) == ([4], [20, 100], [24] * 3)
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0
    assert isinstance(CliRunner().invoke(app, [*command, "--seed", "12"]).exception, UsageError)
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0


@pytest.mark.parametrize("options", ["--subjects 0", "--first -1", "--workers 0", "--size big"])
def test_command_refuses_bad_options(app: typer.Typer, tmp_path: Path, options: str) -> None:
    result = CliRunner().invoke(app, [str(tmp_path), *options.split()])
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())
