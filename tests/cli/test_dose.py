"""``petrt reconstruct --dose`` and what ``petrt inspect`` says of doses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from petrt.cli.app import run
from tests.helpers import write_nifti


@pytest.fixture
def low(tmp_path):
    path = tmp_path / "low.nii.gz"
    data = np.random.default_rng(0).gamma(2, 300, (16, 16, 3)).astype(np.float32)
    return write_nifti(path, data)


@pytest.fixture
def command(dose_bundle, capsys):
    """Run the command; returns exit code and the lines of stderr."""

    def call(*arguments: object) -> tuple[int, list[str]]:
        extra = ["--model", str(dose_bundle), "--threads", "1", "--steps", "1"]
        extra.append("--allow-activity-change")
        code = run(["reconstruct", *map(str, arguments), *extra])
        return code, capsys.readouterr().err.splitlines()

    return call


def test_a_dose_as_quotient_or_number(command, low, tmp_path):
    for name, dose in (("a", "1/100"), ("b", "0.01"), ("c", "1/4")):
        record = tmp_path / f"{name}.json"
        code, lines = command(low, tmp_path / f"{name}.nii", "--dose", dose, "--json", record)
        assert code == 0, lines
        assert not any("dose" in line for line in lines)
        assert json.loads(record.read_text())["dose_fraction"] == (0.25 if name == "c" else 0.01)
    a, b, c = ((tmp_path / f"{name}.nii").read_bytes() for name in "abc")
    assert a == b != c


def test_a_dose_beyond_the_range_is_told(command, low, tmp_path):
    code, lines = command(low, tmp_path / "out.nii", "--dose", "1/2")
    assert code == 0
    assert any("the dose fraction is 1/2, trained on 1/100 to 1/4" in line for line in lines)


@pytest.mark.parametrize("dose", ["0", "x/y"])
def test_what_is_no_dose_is_a_usage_error(command, low, tmp_path, dose):
    code, lines = command(low, tmp_path / "out.nii", "--dose", dose)
    assert (code, len(lines)) == (2, 1), lines
    assert not (tmp_path / "out.nii").exists()


def test_every_case_of_a_batch_has_the_dose(command, low, tmp_path):
    cases = tmp_path / "cases"
    cases.mkdir()
    for name in "ab":
        shutil.copy(low, cases / f"{name}.nii.gz")
    code, lines = command(cases, tmp_path / "out", "--dose", "1/10", "--json", tmp_path / "json")
    assert code == 0, lines
    for name in "ab":
        assert json.loads((tmp_path / "json" / f"{name}.json").read_text())["dose_fraction"] == 0.1
