"""The shipped model: small, labelled, and better than what it has to beat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import petrt.cli.demo
from petrt.cli.app import run
from petrt.data.simulate import simulate_subject
from petrt.evaluation.baselines import best_gaussian
from petrt.evaluation.metrics import evaluate
from petrt.inference.reconstructor import Reconstructor
from petrt.io import nifti
from petrt.model.bundle import load_bundle, shipped_models
from petrt.suv import stored_unit


def test_shipped_model_is_small_and_labelled():
    assert shipped_models() == ["demo"]
    bundle = load_bundle("demo")
    assert sum(map(len, bundle.files.values())) <= 20 << 20
    assert bundle.model.label == "simulated data; not for diagnostic use"
    assert bundle.manifest.export["precision"] == "fp16-weights"
    assert bundle.manifest.export["verified"]["fold"]
    assert bundle.model.network.dose


def test_beats_low_dose_and_the_best_gaussian_on_a_held_out_subject():
    """The bars of the release, on a few slices of a subject that was not in the training data."""
    person = simulate_subject(4242, 17, shape=(96, 112, 24))
    low, full = person.low[100], person.full
    result = Reconstructor("demo", samples=2)(low, affine=person.affine)
    scores = {
        name: evaluate(volume, full, protocols=["standard"])["standard"]["psnr"]
        for name, volume in (
            ("low", low),
            ("gaussian", best_gaussian(low, full).image),
            ("coarse", result.coarse),
            ("output", result.image),
        )
    }
    assert scores["output"] >= scores["low"] + 6, scores
    assert scores["output"] >= scores["gaussian"] + 1.5, scores
    assert scores["output"] >= scores["coarse"] - 0.02, scores


def test_demo_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """``petrt demo`` on fewer slices: table, volumes, picture, numbers; nothing overwritten."""
    monkeypatch.setattr(petrt.cli.demo, "SHAPE", (96, 112, 12))
    out = tmp_path / "demo"
    assert run(["demo", "--out", str(out), "--samples", "2"]) == 0
    printed = capsys.readouterr().out
    for row in ("input", "best Gaussian", "non-local means", "coarse", "AMS-2"):
        assert row in printed
    names = {"full.nii.gz", "low.nii.gz", "output.nii.gz", "std.nii.gz", "demo.png", "demo.json"}
    names.add("low.json")
    assert {path.name for path in out.iterdir()} == names
    report = json.loads((out / "demo.json").read_text())
    assert set(report["scores"]["AMS-2 mean"]) == {"paper", "inference", "standard"}
    assert report["label"] == "simulated data; not for diagnostic use"
    assert run(["demo", "--out", str(out)]) == 2
    assert stored_unit(nifti.read(out / "low.nii.gz")) == "Bq/ml"
