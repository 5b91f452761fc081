"""Numbers and words that are none: one line that names the option, exit code 2 or 3, and nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from petrt.cli.app import run
from tests.helpers import contents, write_nifti

HUGE = "9" * 30
CASES = [
    *(
        ("reconstruct low.nii out.nii --memory", value)
        for value in ("inf", "nan", "0", "-1", "1e300")
    ),
    *(
        ("reconstruct low.nii out.nii --dose", value)
        for value in ("1e-320", "nan", "1/0", "inf", "2")
    ),
    *(("reconstruct low.nii out.nii --seed", value) for value in (HUGE, "-1", "1.5")),
    *(("reconstruct low.nii out.nii --threads", value) for value in (HUGE, "0", "x")),
    *(("reconstruct low.nii out.nii --samples", value) for value in (HUGE, "0")),
    *(("reconstruct low.nii out.nii --steps", value) for value in (HUGE, "0", "1001")),
    *(("reconstruct low.nii out.nii --max-voxels", value) for value in ("0", "1e6")),
    *(
        ("prepare . --out data --voxel-mm", value)
        for value in ("0 2 2", "inf 2 2", "nan 2 2", "-2 2 2", "2 2 x")
    ),
    *(("prepare . --out data --workers", value) for value in ("0", HUGE)),
    *(("prepare . --out data --seed", value) for value in ("-1", HUGE)),
    *(("prepare . --out data --split", value) for value in ("nan,0.5,0.5", "inf,0,0", "1")),
    *(("prepare . --out data --doses", value) for value in ("0", "1", "x", "")),
    *(("simulate data --voxel-mm", value) for value in ("nan", "inf", "0", "-2")),
    *(("simulate data --size", value) for value in ("0", "-16", HUGE)),
    *(("simulate data --subjects", value) for value in ("0", HUGE)),
    *(("simulate data --seed", value) for value in ("-1", HUGE)),
    *(("simulate data --first", value) for value in ("-1", HUGE)),
    *(("simulate data --workers", value) for value in ("0", HUGE)),
    *(("evaluate low.nii low.nii --scale", value) for value in ("nan", "inf", "0", "-1")),
    *(("bench demo --json out.json --budget", value) for value in ("nan", "inf", "-1")),
    *(("bench demo --json out.json --slices", value) for value in ("0", HUGE)),
    *(("calibrate demo --data . --check --level", value) for value in ("nan", "inf", "0", "-1")),
    *(("calibrate demo --data . -o new --level", value) for value in ("nan", "inf", "1", "0")),
    *(("calibrate demo --data . -o new --samples", value) for value in ("1", "0", HUGE)),
    *(("calibrate demo --data . -o new --slab", value) for value in ("0", HUGE)),
    *(("calibrate demo --data . -o new --dose", value) for value in ("1", "1e-320", "0")),
    *(("build-engine demo --workspace", value) for value in ("nan", "inf", "0", "-1")),
    *(("build-engine demo --gpu rtx40 --slices", value) for value in ("0", "-1", HUGE, "2,1,3")),
    *(("build-engine demo --gpu rtx40 --size", value) for value in ("0x0", "8", "x")),
    *(("flops demo --size", value) for value in ("0x0", "-8x8", "nan")),
    *(("flops demo --steps", value) for value in ("0", "x")),
    *(("demo --samples", value) for value in ("1", HUGE)),
    *(("demo --subject", value) for value in ("-1", HUGE)),
]


@pytest.mark.parametrize(("command", "value"), CASES, ids=lambda each: each[-24:])
def test_a_number_that_is_none_is_refused(command, value, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_nifti(tmp_path / "low.nii", np.random.default_rng(0).random((16, 16, 3), np.float32))
    before = contents(tmp_path)
    code = run([*command.split(" "), *value.split(" ")])
    said = " ".join(capsys.readouterr().err.split())
    assert code == (3 if command.startswith("evaluate") else 2), said
    assert "Traceback" not in said
    option = command.split(" ")[-1]
    assert option.lstrip("-") in said.replace(" mm", "-mm"), said
    assert contents(tmp_path) == before


def test_sizes_of_a_grid_may_be_of_any_kind(tiny_bundle):
    """As arrays, lists and tuples, in NumPy's numbers and in Python's."""
    from tests.models import Reconstructor, noisy_blob

    volume, run_it = noisy_blob((16, 24, 3)), Reconstructor(tiny_bundle, steps=1, threads=1)
    expected = run_it(volume, voxel_mm=(2.0, 2.0, 2.0), dose=0.05)
    for sizes in (np.array([2, 2, 2]), [2, 2, 2], (np.float32(2),) * 3):
        found = run_it(volume, voxel_mm=sizes, dose="1/20")
        np.testing.assert_array_equal(found.image, expected.image)
        assert found.stats["dose_fraction"] == 0.05
    found = run_it(volume, affine=np.diag([2, 2, 2, 1]).tolist())
    np.testing.assert_array_equal(found.image, expected.image)
