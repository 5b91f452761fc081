"""``petrt reconstruct`` as a user runs it: grids, exit codes, nothing left behind."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import safetensors.numpy

from petrt.cli.app import run
from petrt.model.bundle import load_bundle
from petrt.model.bundle_writer import write_bundle
from petrt.model.spec import CalibrationSpec, SamplerSpec
from tests.helpers import contents, write_nifti
from tests.io.nifti_files import FILES, GRID_FIELDS, HEADERS, with_fields
from tests.model.rewritten import rewrite

SHAPE = (17, 22, 4)


TABLE = ["cases.json", "cases.tsv"]


@pytest.fixture
def petrt(tiny_bundle, capsys):
    """Run the command; returns exit code and the lines of stderr."""

    def call(*arguments: object) -> tuple[int, list[str]]:
        extra = ["--model", str(tiny_bundle), "--threads", "1", "--steps", "2"]
        extra.append("--allow-activity-change")  # the networks are not trained
        code = run(["reconstruct", *map(str, arguments), *extra])
        return code, capsys.readouterr().err.splitlines()

    return call


@pytest.fixture
def low(tmp_path) -> Path:
    path = tmp_path / "low.nii.gz"
    data = np.random.default_rng(0).gamma(2, 300, SHAPE).astype(np.float32)
    return write_nifti(path, data)


def copies(low: Path, names: str) -> Path:
    """A folder of cases."""
    folder = low.parent / "cases"
    folder.mkdir()
    for name in names:
        shutil.copy(low, folder / f"{name}.nii.gz")
    return folder


def image(kind: str) -> nibabel.Nifti1Image:
    """Inputs of the kinds that scanners and toolboxes write."""
    data = np.random.default_rng(0).gamma(2, 300, SHAPE)
    affine = np.array([[-2.0, 0, 0, 40.5], [0, 2.0, 0, -60.25], [0, 0, 2.0, -7], [0, 0, 0, 1]])
    if kind == "int16 + slope, LAS":
        made = nibabel.Nifti1Image(np.round(data).astype(np.int16), affine)
        made.header.set_slope_inter(0.37, 0)
        made.set_qform(affine, code=1)
        made.set_sform(affine, code=4)
        return made
    if kind == "4-D":
        made = nibabel.Nifti1Image(np.stack([data, 2 * data, data + 5], -1).astype("f4"), affine)
        made.header.set_zooms((2.0, 2.0, 2.0, 300.0))
        made.header.set_xyzt_units("mm", "sec")
        return made
    angle = np.deg2rad(12)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    oblique = np.eye(4)
    oblique[:3, :3] = turn @ np.diag([2.3, 1.7, 4.0])
    oblique[:3, 3] = 11, -7.5, 3
    return nibabel.Nifti1Image(data.astype(">f4"), oblique)


@pytest.mark.parametrize("kind", ["int16 + slope, LAS", "4-D", "oblique, resampled, big-endian"])
def test_output_lies_on_the_grid_of_the_input(petrt, tmp_path, kind):
    source, out = tmp_path / "in.nii", tmp_path / "out.nii.gz"
    image(kind).to_filename(source)
    code, lines = petrt(source, out)
    assert code == 0, lines
    before, after = nibabel.load(source), nibabel.load(out)
    assert after.shape == before.shape
    assert after.get_data_dtype() == np.float32
    for field in (*GRID_FIELDS[:-1], "pixdim"):
        np.testing.assert_array_equal(after.header[field], before.header[field])
    np.testing.assert_array_equal(after.affine, before.affine)
    assert "activity ratio" in lines[-1]


def test_everything_that_can_be_written(petrt, low, tmp_path):
    options = ["--samples", 2, "--std", tmp_path / "std.nii.gz", "--json", tmp_path / "run.json"]
    options += ["--preview", tmp_path / "view.png"]
    code, lines = petrt(low, tmp_path / "out.nii.gz", *options)
    assert code == 0, lines
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["samples"] == 2
    assert record["label"] == "not for diagnostic use"
    assert nibabel.load(tmp_path / "std.nii.gz").get_fdata().max() > 0
    assert (tmp_path / "view.png").read_bytes().startswith(b"\x89PNG")
    header = nibabel.load(tmp_path / "out.nii.gz").header
    assert b"not for diagnostic use" in header["descrip"].item()


def test_same_seed_same_bytes(petrt, low, tmp_path):
    for name in ("a", "b"):
        assert petrt(low, tmp_path / f"{name}.nii.gz", "--seed", 3)[0] == 0
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert petrt(low, tmp_path / "c.nii.gz", "--seed", 4)[0] == 0
    assert (tmp_path / "a.nii.gz").read_bytes() != (tmp_path / "c.nii.gz").read_bytes()


BAD = [f"header: {case}" for case in HEADERS] + [f"file: {case}" for case in FILES]


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(petrt, tmp_path, case):
    kind, name = case.split(": ", 1)
    if kind == "header":
        path, content = tmp_path / "pet.nii", with_fields(**HEADERS[name][0])
    else:
        file, spoil, _ = FILES[name]
        path, content = tmp_path / file, spoil(with_fields())
    path.write_bytes(content)
    before = contents(tmp_path)
    code, lines = petrt(path, tmp_path / "out.nii.gz", "--json", tmp_path / "run.json")
    assert code == 3
    assert len(lines) == 1, lines
    assert path.name in lines[0]
    assert contents(tmp_path) == before


def test_nonfinite_voxels(petrt, tmp_path):
    data = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    data[3, 4, 2] = np.nan
    source, out = tmp_path / "in.nii", tmp_path / "out.nii"
    write_nifti(source, data)
    code, lines = petrt(source, out)
    assert (code, len(lines), out.exists()) == (3, 1, False)
    code, lines = petrt(source, out, "--nonfinite", "zero", "--json", tmp_path / "run.json")
    assert code == 0
    voxels = json.loads((tmp_path / "run.json").read_text())["voxels"]
    assert voxels == {"negative": 0, "nonfinite": 1, "replaced": 1}


def test_max_voxels(petrt, low, tmp_path):
    code, lines = petrt(low, tmp_path / "out.nii.gz", "--max-voxels", 1000)
    assert (code, len(lines)) == (3, 1)


@pytest.mark.parametrize("model", ["coarse", "denoiser", "noise_bias", "missing", "truncated"])
def test_bad_bundle_leaves_nothing(tiny_bundle, low, tmp_path, capsys, model):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    expected = 3
    if model == "missing":
        (bundle / "coarse.onnx").unlink()
    elif model == "truncated":
        rewrite(bundle, "coarse.json", (bundle / "coarse.json").read_bytes()[:500])
    else:
        weights = safetensors.numpy.load_file(bundle / f"{model}.safetensors")
        next(array for array in weights.values() if array.ndim > 1).flat[0] = np.nan
        rewrite(bundle, f"{model}.safetensors", safetensors.numpy.save(weights))
        expected = 4  # and not 3, as for an image that changes the activity
    before = contents(tmp_path)
    arguments = ["reconstruct", str(low), str(tmp_path / "out.nii.gz"), "--model", str(bundle)]
    code = run(arguments)
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if not line.startswith("petrt: engine: ")]
    assert code == expected
    assert len(lines) == 1, lines
    assert ("non-finite output" in lines[0]) == (code == 4)
    assert contents(tmp_path) == before


def test_outputs_are_protected(petrt, low, tmp_path):
    out = tmp_path / "out.nii.gz"
    out.write_bytes(b"precious")
    code, lines = petrt(low, out)
    assert (code, len(lines), out.read_bytes()) == (2, 1, b"precious")
    original = low.read_bytes()
    os.link(low, tmp_path / "hard.nii.gz")
    for target in (low, tmp_path / "hard.nii.gz"):
        code, lines = petrt(low, target, "--overwrite")
        assert (code, len(lines), low.read_bytes()) == (2, 1, original)
    assert petrt(low, out, "--overwrite")[0] == 0
    assert out.read_bytes()[:2] == b"\x1f\x8b"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--samples", "1", "--std", "s.nii.gz"), 2),
        (("--preset", "coarse", "--std", "s.nii.gz"), 2),
        (("--preset", "coarse", "--samples", "2"), 2),
        (("--strength", "1.5"), 2),
        (("--coarse", "out.nii.gz"), 2),
        (("--coarse", "low.nii.gz"), 2),
        (("--device", "cuda"), 4),
        (("--engine", "abacus"), 2),
        (("--sampler", "euler"), 2),
        (("--part-id", "3"), 2),
        (("--samples", "2", "--std", "out.nii.gz"), 2),
        (("--json", "absent-folder/run.json"), 2),
        (("--nonfinite", "maybe"), 2),
    ],
)
def test_contradictory_options(petrt, low, tmp_path, monkeypatch, options, code):
    monkeypatch.chdir(tmp_path)
    got, lines = petrt(low, tmp_path / "out.nii.gz", *options)
    assert (got, len(lines)) == (code, 1), lines
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_folder_goes_on_after_a_bad_case(petrt, low, tmp_path):
    cases, out = copies(low, "ac"), tmp_path / "out"
    (cases / "b.nii.gz").write_bytes(b"<html>")
    code, lines = petrt(cases, out, "--json", tmp_path / "json")
    assert code == 5
    assert sorted(p.name for p in out.iterdir()) == ["a.nii.gz", "c.nii.gz", *TABLE]
    assert sorted(p.name for p in (tmp_path / "json").iterdir()) == ["a.json", "c.json"]
    assert "1 of 3 cases failed" in lines[-1]


def test_a_bad_option_of_a_batch_is_a_usage_error(petrt, low, tmp_path):
    cases = copies(low, "ab")
    code, lines = petrt(cases, tmp_path / "out", "--nonfinite", "maybe")
    assert (code, len(lines)) == (2, 1)
    assert not (tmp_path / "out").exists()


def test_parts_and_dry_run(petrt, low, tmp_path, capsys):
    cases = copies(low, "abc")
    code, _ = petrt(cases, tmp_path / "out", "--dry-run")
    assert code == 0
    assert not (tmp_path / "out").exists()
    for part in (0, 1):
        assert petrt(cases, tmp_path / "out", "--num-parts", 2, "--part-id", part)[0] == 0
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3


def test_hostile_name_stays_on_one_line(petrt, tmp_path):
    path = tmp_path / "evil\nname [red].nii.gz"
    path.write_bytes(gzip.compress(b"<html>" * 100))
    code, lines = petrt(path, tmp_path / "out.nii.gz")
    assert (code, len(lines)) == (3, 1)
    assert "[red]" in lines[0]


def test_entry_point(tiny_bundle, low, tmp_path):
    """The installed command itself, in a process of its own."""
    command = [sys.executable, "-m", "petrt", "reconstruct", str(low), str(tmp_path / "o.nii.gz")]
    command += ["--model", str(tiny_bundle), "--steps", "1", "--threads", "1"]
    command.append("--allow-activity-change")
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1


def test_std_says_calibrated_only_where_it_is(low, tmp_path, tiny_bundle, capsys):
    bundle = load_bundle(tiny_bundle)
    sampler = SamplerSpec(kind="ddpm", steps=2)
    fitted = CalibrationSpec(factor=10, level=0.9, sampler=sampler, samples=2, subjects=1)
    model = bundle.model.model_copy(update={"calibration": fitted})
    write_bundle(bundle, model, tmp_path / "calibrated")
    maps, lines = [], []
    for index, path in enumerate((tiny_bundle, tmp_path / "calibrated")):
        out, std = tmp_path / f"{index}.nii.gz", tmp_path / f"{index}_std.nii.gz"
        arguments = ["reconstruct", low, out, "--std", std, "--model", path]
        arguments += ["--samples", 2, "--steps", 2, "--threads", 1, "--allow-activity-change"]
        assert run([str(each) for each in arguments]) == 0
        lines.append(capsys.readouterr().err)
        maps.append(nibabel.load(std))
    np.testing.assert_allclose(maps[1].get_fdata(), 10 * maps[0].get_fdata(), rtol=1e-6)
    assert b"not calibrated" in maps[0].header["descrip"].item()
    assert b"calibrated for 90 %" in maps[1].header["descrip"].item()
    assert "0_std.nii.gz: not calibrated, the model has no calibration" in lines[0]
    assert "1_std.nii.gz: calibrated, fitted for" in lines[1]


def test_background_is_left_out_unless_all_slices_are_wanted(petrt, tmp_path):
    data = np.random.default_rng(0).gamma(2, 300, (*SHAPE[:2], 7)).astype(np.float32)
    data[..., 2:] = 0
    source = write_nifti(tmp_path / "in.nii", data)
    for name, options, count in (("few", (), 3), ("every", ("--all-slices",), 0)):
        out, record = tmp_path / f"{name}.nii", tmp_path / f"{name}.json"
        code, lines = petrt(source, out, "--json", record, *options)
        assert code == 0, lines
        assert ("background slices are set to 0" in "\n".join(lines)) == (count > 0)
        assert json.loads(record.read_text())["frames"][0]["background_slices"] == count
        assert nibabel.load(out).get_fdata()[..., 4:].any() == (count == 0)


def test_too_little_memory_is_refused_and_told(petrt, low, tmp_path):
    code, lines = petrt(low, tmp_path / "out.nii", "--memory", "0.01")
    assert code == 4
    assert "one slice at a time needs about" in lines[-1]
    assert "--memory" in lines[-1]
    assert not (tmp_path / "out.nii").exists()
    code, lines = petrt(low, tmp_path / "out.nii", "--memory", "64")
    assert code == 0, lines


@pytest.mark.parametrize("failing", ["_std.nii.gz", ".json", ".png"])
def test_the_outputs_of_a_case_appear_together_or_not_at_all(petrt, low, monkeypatch, failing):
    """A picture that cannot be drawn, or a name that cannot be given, after the image was written."""
    from petrt.files import atomic

    folder, out = copies(low, "ab"), low.parent / "out"
    publish = atomic._publish

    def fail(scratch: Path, target: Path, overwrite: bool) -> None:
        if target.name == f"a{failing}":
            raise OSError(errno.ESTALE, "Stale file handle")
        publish(scratch, target, overwrite)

    monkeypatch.setattr(atomic, "_publish", fail)
    options = ["--samples", 2, "--std", out, "--json", out, "--preview", out]
    code, lines = petrt(folder, out, *options)
    assert code == 5
    assert any(f"failed: a.nii.gz: a{failing}: cannot write" in line for line in lines)
    names = ["b.json", "b.nii.gz", "b.png", "b_std.nii.gz"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, *TABLE])


def test_a_folder_that_cannot_be_synced_ends_no_batch(petrt, low, monkeypatch):
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    folder, out = copies(low, "ab"), low.parent / "out"
    assert petrt(folder, out)[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.nii.gz", "b.nii.gz", *TABLE]
