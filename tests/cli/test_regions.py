"""petrt reconstruct --regions: tables, names, and what is refused."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest

from petrt.cli.app import run
from petrt.cli.regions import STATISTICS, show_table
from tests.helpers import write_nifti

SHAPE = (17, 22, 7)


@pytest.fixture
def petrt(tiny_bundle, capsys):
    """Run the command; returns exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        extra = ["--model", tiny_bundle, "--threads", "1", "--steps", "1", "--samples", "2"]
        code = run(["reconstruct", *map(str, [*arguments, *extra, "--allow-activity-change"])])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def files(tmp_path):
    low = np.random.default_rng(0).gamma(2, 300, SHAPE).astype(np.float32)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9, 4:10, 1:5] = 1
    labels[10:13, 12:15, 2:5] = 4
    return write_nifti(tmp_path / "low.nii.gz", low), write_nifti(tmp_path / "dseg.nii.gz", labels)


def test_a_table_with_names(petrt, files, tmp_path):
    low, labels = files
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\tgrey matter\n4\tlesion\n")
    out, table, record = (tmp_path / name for name in ("o.nii.gz", "t.tsv", "r.json"))
    code, _, lines = petrt(low, out, "--regions", labels, "--regions-out", table, "--json", record)
    assert code == 0, lines
    rows = list(csv.DictReader(table.read_text().splitlines(), delimiter="\t"))
    assert [row["name"] for row in rows] == ["grey matter", "lesion"]
    image, marked = nibabel.load(out).get_fdata(), nibabel.load(labels).get_fdata()
    assert float(rows[0]["mean"]) == pytest.approx(image[marked == 1].mean(), rel=1e-5)
    assert float(rows[1]["max"]) == pytest.approx(image[marked == 4].max(), rel=1e-6)
    assert (rows[0]["mean_low"], rows[0]["reason"]) == ("n/a", "the model has no calibration")
    kept = json.loads(record.read_text())
    assert kept["regions"]["level"] == 0.9
    assert [row["label"] for row in kept["regions"]["rows"]] == [1, 4]
    assert "regions" in kept["hashes"]["outputs"]


@pytest.mark.parametrize(("low", "said"), [(1.5, True), (None, False)])
def test_the_table_says_that_a_value_may_lie_outside_its_interval(low, said, capsys):
    row = {"frame": 0, "label": 1, "name": "grey", "ml": 2.0, "reason": "" if said else "no fit"}
    row |= {f"{name}{end}": low for name in STATISTICS for end in ("_low", "_high")}
    row |= dict.fromkeys(STATISTICS, 1.0)
    show_table({"label": "not for diagnostic use", "regions": {"level": 0.9, "rows": [row]}})
    words = " ".join(capsys.readouterr().out.split())
    assert ("a value may lie outside its own" in words) == said
    assert ("no intervals: no fit" in words) != said


def test_json_and_stdout(petrt, files, tmp_path):
    low, labels = files
    (tmp_path / "dseg.json").write_text('{"1": "grey", "Manual": true}')
    code, out, lines = petrt(low, tmp_path / "a.nii", "--regions", labels, "--regions-level", 0.5)
    assert code == 0, lines
    assert "grey" in out
    assert "50 %" in out
    assert "not for diagnostic use" in out
    table = tmp_path / "t.json"
    code, _, lines = petrt(low, tmp_path / "b.nii", "--regions", labels, "--regions-out", table)
    assert code == 0, lines
    content = json.loads(table.read_text())
    assert (content["samples"], len(content["rows"])) == (2, 2)
    assert "not for diagnostic use" in content["label"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--regions-out", "t.tsv"], 2, "add --regions"),
        (["--regions", "{labels}", "--regions-out", "{tmp}/t.csv"], 2, ".tsv or .json"),
        (["--regions", "{labels}", "--regions-level", "1"], 2, "--regions-level"),
        (["--regions", "{labels}", "--resume"], 2, "--resume"),
        (["--regions", "{tmp}/none.nii"], 3, "none.nii"),
        (["--regions", "{low}"], 3, "whole numbers"),
    ],
)
def test_refusals_leave_nothing(petrt, files, tmp_path, arguments, code, message):
    low, labels = files
    paths = {"labels": labels, "tmp": tmp_path, "low": low}
    before = sorted(tmp_path.iterdir())
    got, _, lines = petrt(low, tmp_path / "o.nii", *(a.format(**paths) for a in arguments))
    assert got == code, lines
    assert message in lines.splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == before


def test_several_inputs_have_no_regions(petrt, files, tmp_path):
    low, labels = files
    code, _, lines = petrt(low, low, tmp_path / "out", "--regions", labels)
    assert (code, "single input" in lines or "same name" in lines) == (2, True)


def test_a_damaged_table_of_names_is_told_of(petrt, files, tmp_path):
    low, labels = files
    (tmp_path / "dseg.tsv").write_text("number\ttext\n1\tgrey\n")
    code, _, lines = petrt(low, tmp_path / "o.nii", "--regions", labels)
    assert code == 3
    assert "no columns index and name" in lines
