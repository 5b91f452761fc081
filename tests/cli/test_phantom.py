"""petrt phantom as a user runs it: what it writes, and its errors."""

from __future__ import annotations

import base64
import hashlib
import json

import nibabel as nib
import numpy as np
import pytest

from petrt.cli.app import run
from petrt.data.simulate.iq_phantom import scan
from petrt.evaluation.nema import phantom
from tests.evaluation.report.document import command_in
from tests.models import with_voxels


@pytest.fixture(scope="module")
def coarse_grid(tiny_bundle, tmp_path_factory):
    """The tiny model for voxels of 6 mm, so that its phantom is small."""
    out = with_voxels(tiny_bundle, 6.0, tmp_path_factory.mktemp("phantom") / "model")
    return ["--model", str(out), "--threads", "1", "--samples", "1"]


def test_a_simulated_phantom(coarse_grid, tmp_path, capsys):
    options = ["--kind", "head", "--reduction", "20", "--realisations", "2", *coarse_grid]
    out = tmp_path / "report"
    page = tmp_path / "page.html"
    assert run(["phantom", str(out), "--report", str(page), *options]) == 0
    picture = base64.b64encode((out / "phantom_head_1to20.png").read_bytes()).decode()
    shown = page.read_text()
    assert picture in shown
    assert "not for diagnostic use" in shown
    assert 'id="layer-reference"' in shown
    assert "head, 1/20 dose, realisation 1" in shown
    assert "Maximum and peak (mean of 1 ml) in Bq/ml" in shown
    assert "no known unit" not in shown
    words = ["phantom", "OUT", "--kind", "head", "--reduction", "20", "--realisations", "2"]
    words += ["--model", "MODEL", "--samples", "1", "--preset", "fast", "--seed", "0"]
    assert command_in(shown) == [*words, "--device", "cpu", "--engine", "native"]
    assert {path.name for path in out.iterdir()} == {"phantom.json", "phantom_head_1to20.png"}
    report = json.loads((out / "phantom.json").read_text())
    assert report["label"] == "not for diagnostic use"
    found = report["phantoms"]["head"]["1/20"]
    assert found["realisations"] == len(found["each"]) == 2
    assert [row["diameter_mm"] for row in found["spheres"]] == [10, 13, 17, 22, 28, 37]
    assert found["bias"]["output"]["peak"]["count"] == 12
    printed = capsys.readouterr().out
    assert "head, 1/20 dose" in printed
    assert "95 % limits" in printed
    assert run(["phantom", str(out), *options]) == 2  # nothing is overwritten


def test_a_scan_with_its_full_dose(coarse_grid, tmp_path):
    made = scan(phantom("head"), (20,), seed=0, voxel_mm=6.0)
    low, full = tmp_path / "low.nii.gz", tmp_path / "full.nii.gz"
    nib.save(nib.Nifti1Image(made.low[20], made.affine), low)
    nib.save(nib.Nifti1Image(made.full, made.affine), full)
    centres = tmp_path / "centres.csv"
    rows = [f"{s.diameter_mm},{','.join(map(str, s.centre_mm))}" for s in phantom("head").spheres]
    centres.write_text("\n".join(["diameter_mm,x,y,z", *rows]))
    out = tmp_path / "report"
    scans = ["--scan", str(low), "--full", str(full), "--centres", str(centres)]
    page = tmp_path / "page.html"
    given = [*scans, "--kind", "head", *coarse_grid]
    assert run(["phantom", str(out), *given, "--report", str(page)]) == 0
    shown = page.read_text()
    assert "no known unit" in shown  # only a simulation's is known
    for path in (low, full):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in shown
        assert path.name not in shown
    report = json.loads((out / "phantom.json").read_text())
    assert report["source"] == "series"
    assert "bias" in report["phantoms"]["head"]["as given"]
    assert np.allclose(report["settings"]["centres_mm"][0], phantom("head").spheres[0].centre_mm)
    files = {"SCAN": low, "FULL": full, "CENTRES": centres, "MODEL": coarse_grid[1]}
    words = [str(files.get(word, word)) for word in command_in(shown)]
    words[1] = str(tmp_path / "again")
    assert run(words) == 0
    assert json.loads((tmp_path / "again" / "phantom.json").read_text()) == report
    assert run(["phantom", str(out / "b"), "--scan", str(low), "--dose", "2", *coarse_grid]) == 2


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--kind", "torso"], 2, "'torso' is not one of 'body', 'head'"),
        (["--cold", "12"], 2, "--cold: no sphere has 12 mm"),
        (["--contrast", "1"], 2, "--contrast is 1"),
        (["--full", "x.nii"], 2, "are for a scan"),
        (["--scan", "x.nii", "--reduction", "20"], 2, "are simulated"),
        (["--scan", "absent.nii"], 3, "absent.nii"),
    ],
)
def test_errors_are_one_line(coarse_grid, tmp_path, capsys, options, code, message):
    assert run(["phantom", str(tmp_path / "out"), *options, *coarse_grid]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.glob("out/*"))
