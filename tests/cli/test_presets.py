"""``petrt reconstruct --preset`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from petrt.cli.app import run
from petrt.diffusion.presets import PRESETS
from tests.helpers import write_nifti
from tests.models import noisy_blob

FAST = PRESETS["fast"]


@pytest.fixture
def low(tmp_path) -> Path:
    path = tmp_path / "low.nii.gz"
    return write_nifti(path, noisy_blob((16, 21, 3)))


@pytest.fixture
def petrt(tiny_bundle, low, tmp_path, capsys):
    """Run the command on ``low``; returns exit code, lines of stderr, and the record of the run."""

    def call(name: str, *options: object, model: Path = tiny_bundle):
        out, record = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}.json"
        arguments = ["reconstruct", low, out, "--json", record, "--model", model, "--threads", 1]
        arguments.append("--allow-activity-change")
        code = run([str(each) for each in (*arguments, *options)])
        lines = capsys.readouterr().err.splitlines()
        return code, lines, json.loads(record.read_text()) if record.exists() else None

    return call


def test_fast_is_written_as_its_explicit_steps_and_says_so(petrt, tmp_path):
    code, lines, fast = petrt("fast", "--preset", "fast", "--std", tmp_path / "fast_std.nii.gz")
    assert code == 0, lines
    steps = ("--sampler", FAST.sampler.kind, "--steps", FAST.sampler.steps)
    std = ("--std", tmp_path / "steps_std.nii.gz")
    code, lines, explicit = petrt("steps", *steps, "--samples", FAST.samples, *std)
    assert code == 0, lines
    for end in ("", "_std"):
        written = (tmp_path / f"{name}{end}.nii.gz" for name in ("fast", "steps"))
        assert len({path.read_bytes() for path in written}) == 1
    assert (fast["preset"], explicit["preset"]) == ("fast", None)
    assert fast["samples"] == explicit["samples"] == FAST.samples
    assert fast["sampler"] == {"kind": FAST.sampler.kind, "steps": FAST.sampler.steps}


def test_coarse_and_strength_are_written_and_told(petrt, low, tmp_path):
    code, lines, coarse = petrt("coarse", "--preset", "coarse")
    assert code == 0, lines
    code, lines, half = petrt(
        "half",
        "--strength",
        "0.5",
        "--coarse",
        tmp_path / "c.nii.gz",
        "--std",
        tmp_path / "s.nii.gz",
    )
    assert code == 0, lines
    image, first = (nibabel.load(tmp_path / f"{n}.nii.gz").get_fdata() for n in ("coarse", "c"))
    np.testing.assert_array_equal(image, first)
    assert (coarse["sampler"], coarse["samples"], coarse["strength"]) == (None, 0, 1)
    assert (half["preset"], half["samples"], half["strength"]) == ("fast", 8, 0.5)
    assert half["hashes"]["outputs"].keys() == {"image", "std", "coarse"}
    assert any("not calibrated, at strength 0.5" in line for line in lines)
    code, lines, none = petrt("none", "--strength", "0")
    assert code == 0, lines
    kept = nibabel.load(tmp_path / "none.nii.gz").get_fdata(dtype="float32")
    np.testing.assert_array_equal(kept, nibabel.load(low).get_fdata(dtype="float32"))
    assert len({each["key"] for each in (coarse, half, none)}) == 3


def test_a_folder_of_coarse_predictions_is_resumed(tiny_bundle, low, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", noisy_blob((16, 16, 2)))
    arguments = ["reconstruct", tmp_path / "in", tmp_path / "out", "--coarse", tmp_path / "first"]
    arguments += ["--model", tiny_bundle, "--threads", 1, "--allow-activity-change"]
    arguments = [str(each) for each in arguments]
    assert run(arguments) == 0
    path = tmp_path / "first" / "b_coarse.nii.gz"
    before = path.read_bytes()
    capsys.readouterr()
    assert run(arguments) == 0
    assert "2 of 2 cases are done already" in capsys.readouterr().err
    path.unlink()
    assert run(arguments) == 0
    assert "1 of 2 cases are done already" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--preset", "turbo"), "'--preset': 'turbo' is not one of"),
        (("--preset", "turbo", "--std", "std.nii.gz"), "'--preset': 'turbo' is not one of"),
        (("--preset", "fast", "--steps", "2"), "fixes sampler and steps"),
        (("--preset", "paper", "--sampler", "ddpm"), "fixes sampler and steps"),
        (("--preset", "coarse", "--std", "std.nii.gz"), "--std needs at least two samples"),
        (("--preset", "fast", "--samples", "1", "--std", "std.nii.gz"), "at least two samples"),
    ],
)
def test_contradictions_are_refused_before_any_work(petrt, tmp_path, monkeypatch, options, why):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, lines, _ = petrt("out", *options)
    assert (code, len(lines)) == (2, 1), lines
    assert why in lines[0]
    assert sorted(tmp_path.iterdir()) == before
