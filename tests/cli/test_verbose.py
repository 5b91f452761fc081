"""``-v``: what is read and written, the schedule and the seconds by part, without naming a patient."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from petrt.cli.app import run
from tests.helpers import write_nifti
from tests.suv.series_files import write

SEEN = [
    r"model: \S+, identity [0-9a-f]{12}",
    r"read low\.nii\.gz: 16 x 16 x 3, 2 mm",
    r"schedule: slices 3 of 3, workers \d+, threads of each \d+, a call \d+ x \d+ \(slices x samples\)",
    r"seconds: guides [\d.]+, .*denoiser [\d.]+, .*total [\d.]+",
    r"wrote out\.nii\.gz",
    r"wrote std\.nii\.gz",
    r"wrote run\.json",
]


@pytest.fixture
def words(tmp_path, tiny_bundle):
    """A run of a file in a folder that is named after its patient."""
    folder = tmp_path / "SMITH_JOHN"
    folder.mkdir()
    data = np.random.default_rng(0).gamma(2, 300, (16, 16, 3)).astype(np.float32)
    source = write_nifti(folder / "low.nii.gz", data)
    more = ["--std", str(folder / "std.nii.gz"), "--json", str(folder / "run.json")]
    how = ["--model", str(tiny_bundle), "--steps", "1", "--samples", "2", "--overwrite"]
    return [
        *("reconstruct", str(source), str(folder / "out.nii.gz"), "--allow-activity-change"),
        *(*more, *how),
    ]


def test_it_tells_what_is_read_the_schedule_the_seconds_and_what_is_written(words, capsys):
    assert run(words) == 0
    usual = capsys.readouterr().err.splitlines()
    assert run([*words, "-v"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(usual) + len(SEEN)
    for pattern in SEEN:
        assert sum(re.fullmatch(f"petrt: {pattern}", line) is not None for line in lines) == 1
    assert "SMITH" not in "".join(lines)


def test_as_json_each_line_is_one_record(words, capsys):
    assert run(["--log-format", "json", *words, "-v"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [each for each in records if each["level"] == "debug"]
    assert len(told) == len(SEEN)
    assert {each["event"] for each in told} == {"debug"}


def test_a_dicom_folder_is_not_named_where_it_is_read(tmp_path, capsys):
    folder = tmp_path / "SMITH_JOHN"
    write(folder, shape=(16, 16, 4))
    assert run(["-v", "inspect", str(folder)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"petrt: read a DICOM PET series, 4 slices, units BQML: 16 x 16 x 4, .* mm", line
    )
