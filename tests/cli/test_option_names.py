"""Errors of the command line name options as they are typed, not Python's arguments."""

from __future__ import annotations

import re

import numpy as np
import pytest

from petrt import errors
from petrt.cli.app import run
from petrt.errors import UsageError
from petrt.values import whole
from tests.helpers import write_nifti

VOLUME = np.random.default_rng(0).gamma(2, 300, (16, 16, 2)).astype(np.float32)
RUN = ("reconstruct", "low.nii", "out.nii")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ((*RUN, "--dose", "2"), "--dose 2 is not in"),
        ((*RUN, "--dose", "little"), "--dose 'little' is not a fraction"),
        ((*RUN, "--dose", "auto", "--model", "tiny"), "--dose auto: model"),
        ((*RUN, "--samples", "0"), "--samples must be at least 1"),
        ((*RUN, "--seed", "-1"), "--seed must lie in 0 .. 2^64 - 1"),
        ((*RUN, "--steps", "2", "--sampler", "mean"), "--steps is 2; --steps 1 suits it"),
        ((*RUN, "--preset", "fast", "--steps", "2"), "--preset fast fixes"),
        ((*RUN, "--strength", "nan"), "--strength is nan"),
        ((*RUN, "--device", "gpu"), "--device is 'gpu'"),
        ((*RUN, "--device", "cpu", "--engine", "tensorrt"), "--device cuda uses one"),
        ((*RUN, "--threads", "0"), "'--threads'"),
        ((*RUN, "--memory", "0"), "--memory is 0.0"),
        ((*RUN, "--max-voxels", "4"), "--max-voxels 512 lets it in"),
        ((*RUN, "--series", "1.2"), "--series 1.2: no such series"),
        ((*RUN, "--out-format", "dicom"), "named as NIfTI"),
        (("evaluate", "low.nii", "low.nii", "--scale", "0"), "--scale is 0.0"),
        (
            ("evaluate", "low.nii", "low.nii", "--names", "x", "--labels", "low.nii"),
            "--names is 'x'",
        ),
        (
            ("evaluate", "low.nii", "low.nii", "--mask", "low.nii", "--protocol", "paper"),
            "--mask applies to",
        ),
        (("simulate", "d", "--dose", "7"), "--dose: a reduction of 7"),
        (("simulate", "d", "--own-grid"), "--scanner varied draws"),
        (("prepare", "low.nii", "--out", "d", "--crop", "x"), "--crop 'x'"),
        (("prepare", "low.nii", "--out", "d", "--split", "x"), "--split 'x'"),
        (("prepare", "low.nii", "--out", "d", "--doses", "x"), "--doses is 'x'"),
        (("prepare", "low.nii", "--out", "d", "--voxel-mm", "0", "1", "1"), "--voxel-mm is"),
        (("phantom", "d", "--contrast", "0"), "--contrast is 0"),
        (("phantom", "d", "--cold", "11"), "--cold: no sphere"),
        (("calibrate", "demo", "--data", "d", "--check", "--dose", "3"), "--dose 3 is not in"),
        (("bench", "demo", "--dry-run", "--precision", "int8"), "--precision has no 'int8'"),
        (("train", "demo"), "--data and --out missing"),
        (("--log-format", "xml", "inspect", "demo"), "--log-format is 'xml'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_names_the_option(command, option, tmp_path, monkeypatch, capsys, tiny_bundle):
    monkeypatch.chdir(tmp_path)
    write_nifti(tmp_path / "low.nii", VOLUME)
    arguments = [str(tiny_bundle) if word == "tiny" else word for word in command]
    code = run(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert code in (2, 3)
    assert option in line
    assert not re.search(r"\b[a-z_]+=", line.replace("max=", "")), line


def test_a_name_is_that_of_the_caller():
    said = {}
    for caller, options in (("Python", None), ("with", ["max_voxels"]), ("without", ["dose"])):
        errors.speak_of(options)
        try:
            said[caller] = errors.called("max_voxels")
            with pytest.raises(UsageError, match=rf"^{said[caller]} must be"):
                whole("max_voxels", 0, 1, 1_000_000)
        finally:
            errors.speak_of(None)
    assert said == {"Python": "max_voxels", "with": "--max-voxels", "without": "max_voxels"}
