"""The Ultra-low Dose PET challenge in three commands, on small volumes laid out as it lays out its own."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from petrt.cli.app import run
from tests.data.prepare.scans import AFFINE, challenge, save, scan
from tests.train.runs import as_toml, config

pytest.importorskip("accelerate")

NAMES = [f"Anonymous-{n:02}_DRF-{drf}.nii.gz" for n in (1, 2) for drf in (20, 100)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the training data's layout, prepared and trained on by the first two commands."""
    work = tmp_path_factory.mktemp("challenge")
    challenge(work / "train")
    settings = config(
        steps=4,
        coarse_steps=2,
        data={"doses": {"100": 1.0, "20": 1.0}},
        model={
            "domain": {"voxel_mm": [4.0, 4.0, 4.0]},
            "scale": {},
            "transform": {"kind": "log1p"},
        },
        network={"dose": True},
    )
    (work / "model.toml").write_text(as_toml(settings))
    prepared = ["prepare", str(work / "train"), "--out", str(work / "data")]
    assert run([*prepared, "--split", "0.5,0.25,0.25"]) == 0
    data = ["--data", str(work / "data"), "--out", str(work / "run"), "--threads", "1"]
    assert run(["train", str(work / "model.toml"), *data, "--export", str(work / "model")]) == 0
    return work


@pytest.fixture
def test_set(tmp_path):
    folder = tmp_path / "test"
    for name in NAMES:
        subject, drf = int(name[10:12]), int(name.split("-")[2].split(".")[0])
        save(folder / name, scan(20 + subject, drf))
    return folder


def test_predictions_have_the_names_grids_and_doses_of_their_inputs(
    trained, test_set, tmp_path, capsys
):
    out, records = tmp_path / "predictions", tmp_path / "records"
    arguments = [str(test_set), str(out), "--model", str(trained / "model"), "--threads", "1"]
    arguments += ["--json", str(records), "--allow-activity-change"]
    assert run(["reconstruct", *arguments]) == 0
    assert "dose by file name (DRF): 1/20 of 2, 1/100 of 2" in capsys.readouterr().err
    assert sorted(path.name for path in out.glob("*.nii.gz")) == sorted(NAMES)
    for name in NAMES:
        image = nib.load(out / name)
        np.testing.assert_allclose(image.affine, AFFINE)
        fraction = json.loads((records / name.replace(".nii.gz", ".json")).read_text())
        assert fraction["dose_fraction"] == pytest.approx(1 / int(name.split("-")[2].split(".")[0]))
    assert run(["reconstruct", *arguments]) == 0  # all done already: the keys hold each case's dose
    assert "4 of 4 cases are done already" in capsys.readouterr().err


def test_a_dose_that_is_given_is_for_all(trained, test_set, tmp_path):
    path = test_set / NAMES[0]
    record = tmp_path / "record.json"
    arguments = [str(path), str(tmp_path / "out.nii"), "--model", str(trained / "model")]
    arguments += ["--json", str(record), "--allow-activity-change", "--threads", "1"]
    assert run(["reconstruct", *arguments, "--dose", "1/50"]) == 0
    assert json.loads(record.read_text())["dose_fraction"] == pytest.approx(0.02)


def test_a_corrupt_file_is_told_of(trained, tmp_path, capsys):
    path = save(tmp_path / "Anonymous-06_DRF-50.nii.gz", scan(3, 50))
    arguments = [str(path), str(tmp_path / "out.nii"), "--model", str(trained / "model")]
    assert run(["reconstruct", *arguments, "--allow-activity-change", "--threads", "1"]) == 0
    assert "corrupt, removed from the test set" in capsys.readouterr().err


def test_the_challenges_metrics_and_organs_in_suv(tmp_path):
    full = scan(5)
    name = "Anonymous-01_DRF-100.nii.gz"
    prediction = save(tmp_path / "p" / name, 0.9 * full)
    reference = save(tmp_path / "r" / name, full)
    organs = np.zeros(full.shape, np.uint8)
    organs[8:10, 9:12, 5:8], organs[5:7, 9:12, 5:8] = 1, 2
    labels = save(tmp_path / "labels.nii.gz", organs)
    table = tmp_path / "info.csv"
    table.write_text(f"PID,weight,dose\nAnonymous-01_DRF-100,50,1e8\n{name[:3]}x,50,1e8\n")
    out = tmp_path / "out.json"
    arguments = [str(prediction), str(reference), "--protocol", "challenge", "--json", str(out)]
    arguments += ["--labels", str(labels), "--metadata", str(table)]
    assert run(["evaluate", *arguments, "--names", "1=liver,2=heart"]) == 0
    report = json.loads(out.read_text())
    (frame,) = report["frames"]
    liver, heart = frame["organs"]
    assert (liver["name"], heart["name"]) == ("liver", "heart")
    assert liver["suvmean"] == pytest.approx(0.9 * full[organs == 1].mean() * 5e-4, rel=1e-5)
    assert heart["suvmax_error_percent"] == pytest.approx(10, abs=1e-3)
    assert report["unit"] == "SUVbw (g/ml)"
    assert set(frame["metrics"]) == {"challenge"}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--names", "1=liver"], 2, "--names needs --labels"),
        (["--metadata", "absent.csv"], 3, "absent.csv: cannot be read"),
        (["--metadata", "absent.csv", "--suv", "bw"], 2, "both --suv and --metadata"),
    ],
)
def test_errors_of_the_options(tmp_path, capsys, options, code, message):
    path = str(save(tmp_path / "a.nii.gz", scan(1)))
    assert run(["evaluate", path, path, *options]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
