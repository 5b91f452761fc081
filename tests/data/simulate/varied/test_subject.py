"""A varied subject: repeatable, on its own grid or the one asked for, recorded in dataset.json."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from petrt.cli.simulate import simulate
from petrt.data.simulate import Subject, simulate_subject, write_dataset
from petrt.data.simulate.dataset import subject_files
from petrt.data.simulate.subject import drawn_parameters
from petrt.data.simulate.varied import subject as module
from petrt.errors import UsageError

NUMBER = 2000  # a scanner with voxels of 4 mm
CUBE = {"shape": (48, 48, 40), "voxel_mm": 5.0}

DIGEST = """
import hashlib
from petrt.data.simulate import simulate_subject
from petrt.data.simulate.varied import subject
subject.HEAD_SHAPE, subject.HEAD_MM = (64, 64, 64), 4.0
s = simulate_subject(2023, 2000, doses=(4, 100), voxel_mm=None, scanner="varied")
volumes = (s.full, s.truth, s.activity, s.low[4], s.low[100], s.labels)
print(hashlib.sha256(b"".join(v.tobytes() for v in volumes)).hexdigest())
"""


@pytest.fixture(scope="module", autouse=True)
def coarse_head():
    """Heads on a grid of 4 mm: an eighth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HEAD_SHAPE", (64, 64, 64))
        patch.setattr(module, "HEAD_MM", 4.0)
        yield


@pytest.fixture(scope="module")
def native() -> Subject:
    return simulate_subject(2023, NUMBER, doses=(4, 100), voxel_mm=None, scanner="varied")


@pytest.fixture(scope="module")
def asked() -> Subject:
    return simulate_subject(2023, NUMBER, doses=(100,), scanner="varied", **CUBE)


def test_own_grid(native: Subject) -> None:
    assert native.drawn is not None
    for volume in (native.full, native.truth, native.activity, native.low[4], native.low[100]):
        assert volume.shape == native.labels.shape == native.drawn.shape
        assert volume.dtype == np.float32
        assert np.isfinite(volume).all()
    assert np.diag(native.affine).tolist() == [*native.drawn.voxel_mm, 1.0]
    centre = native.affine @ [*(np.array(native.full.shape) - 1) / 2, 1]
    assert centre == pytest.approx([0, 0, 0, 1])


def test_the_head_is_the_same_on_any_grid(native: Subject, asked: Subject) -> None:
    assert asked.full.shape == CUBE["shape"]
    assert asked.drawn == native.drawn
    for name in ("full", "activity", "truth"):
        here, there = (
            getattr(s, name).sum(dtype=np.float64) * np.prod(np.diag(s.affine)[:3])
            for s in (native, asked)
        )
        assert here == pytest.approx(there, rel=0.02), name
    share = [
        np.bincount(s.labels.ravel(), minlength=6)[1:] * abs(np.linalg.det(s.affine))
        for s in (native, asked)
    ]
    assert share[0] == pytest.approx(share[1], rel=0.1, abs=3000)


def test_activity_is_kept_and_noise_falls_with_dose(native: Subject) -> None:
    brain = np.isin(native.labels, (1, 2, 3))
    # What remains are the errors of the corrections and of a few iterations.
    assert native.truth[brain].mean() == pytest.approx(native.activity[brain].mean(), rel=0.15)
    for image in (native.full, *native.low.values()):
        assert image.sum() == pytest.approx(native.truth.sum(), rel=0.01)
    noise = [
        np.std((v - native.truth)[brain]) for v in (native.full, native.low[4], native.low[100])
    ]
    assert noise[1] / noise[0] == pytest.approx(2, rel=0.1)
    assert noise[2] / noise[0] == pytest.approx(10, rel=0.15)


def test_same_request_same_bits(native: Subject) -> None:
    again = simulate_subject(2023, NUMBER, doses=(100,), voxel_mm=None, scanner="varied")
    for name in ("full", "truth", "activity", "labels"):
        assert np.array_equal(getattr(again, name), getattr(native, name)), name
    assert np.array_equal(again.low[100], native.low[100])


def test_threads_do_not_change_the_bits(native: Subject) -> None:
    volumes = (
        native.full,
        native.truth,
        native.activity,
        native.low[4],
        native.low[100],
        native.labels,
    )
    here = hashlib.sha256(b"".join(v.tobytes() for v in volumes)).hexdigest()
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    for threads in ("1", "3"):
        environment = os.environ | dict.fromkeys(names, threads)
        command = [sys.executable, "-c", DIGEST]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == here, threads


def test_a_grid_larger_than_the_scanners_is_empty_there() -> None:
    volume = np.ones((8, 8, 6), np.float32)
    for shape in ((12, 13, 10), (4, 5, 4), (8, 8, 6)):
        out = module.to_grid(volume, (2.0, 2.0, 3.0), shape, (2.0, 2.0, 2.0))
        assert out.shape == shape
        assert out[tuple(n // 2 for n in shape)] == pytest.approx(1)
        axis_sums = [np.flatnonzero(out.any(axis=tuple({0, 1, 2} - {a}))) for a in range(3)]
        for found, n in zip(axis_sums, shape, strict=True):
            assert found[0] == n - 1 - found[-1]  # centred
    out = module.to_grid(volume, (2.0, 2.0, 3.0), (12, 12, 10), (2.0, 2.0, 2.0))
    assert not out[:2].any()
    assert out[2].any()
    assert np.array_equal(
        module.to_grid(volume, (2.0, 2.0, 3.0), (8, 8, 6), (2.0, 2.0, 3.0)), volume
    )


def test_data_set(native: Subject, tmp_path: Path) -> None:
    write_dataset(tmp_path, (NUMBER,), 2023, (4, 100), voxel_mm=None, scanner="varied")
    index = json.loads((tmp_path / "dataset.json").read_text())
    assert index["scanner"] == "varied"
    assert index["shape"] is index["voxel_mm"] is None
    drawn = json.loads(json.dumps(drawn_parameters(2023, NUMBER)))
    assert index["drawn"] == {"sub-2000": drawn}
    assert native.drawn is not None
    assert drawn.items() >= json.loads(json.dumps(asdict(native.drawn))).items()
    for key, name in subject_files(NUMBER, (4, 100)).items():
        image = nib.Nifti1Image.from_filename(tmp_path / name)
        assert list(image.shape) == drawn["shape"], key
        assert image.header.get_zooms() == pytest.approx(drawn["voxel_mm"])
    full = nib.Nifti1Image.from_filename(tmp_path / "sub-2000_rec-full_pet.nii.gz")
    assert np.array_equal(np.asarray(full.dataobj), native.full)
    with pytest.raises(UsageError, match="exists"):  # the other scanner's files are others
        write_dataset(tmp_path, (NUMBER,), 2023, (4, 100))


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no grid of its own"):
        simulate_subject(0, voxel_mm=None)
    with pytest.raises(UsageError, match="choose one of basic, varied"):
        simulate_subject(0, scanner="best")
    app = typer.Typer()
    app.command()(simulate)
    out = tmp_path / "out"
    grid = "--scanner varied --own-grid --voxel-mm 2"
    for options, words in (
        ("--own-grid", "no grid of its own"),
        ("--scanner x", "scanner is 'x'"),
        (grid, "leave out --size and --voxel-mm"),
    ):
        error = CliRunner().invoke(app, [str(out), *options.split()]).exception
        assert isinstance(error, UsageError)
        assert words in str(error)
    assert not out.exists()
