"""Training on a few tiny simulated subjects: it learns, resumes exactly, and ends in a bundle."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from petrt.cli.app import run
from petrt.data.dataset import open_dataset
from petrt.errors import InputError, UsageError
from petrt.nets.checkpoint import load_checkpoint
from petrt.train.config import load_config
from petrt.train.fit import fit
from tests.models import Reconstructor
from tests.train.runs import UNET, Stopped, as_toml, assert_same, config, log, stop_at, weights


# With everything; without an average of weights; before the denoiser joins.
@pytest.mark.parametrize(
    "unlike",
    [
        {},
        pytest.param({"optimizer": {"ema": 0.0, "clip": 0.0}}, marks=pytest.mark.slow),
        pytest.param({"coarse_steps": 7}, marks=pytest.mark.slow),
    ],
)
def test_resumed_run_equals_an_uninterrupted_one(data, tmp_path, unlike):
    settings = config(8, **unlike)
    whole = fit(settings, data, tmp_path / "whole")
    with pytest.raises(Stopped):  # two steps after the checkpoint, which are then done again
        fit(settings, data, tmp_path / "parts", progress=stop_at(6))
    parts = fit(settings, data, tmp_path / "parts", resume=True)
    assert_same(parts, whole)
    _, spec, info = load_checkpoint(parts)
    assert info["step"] == 8
    assert spec.sigma_r == load_checkpoint(whole)[1].sigma_r
    assert spec.clip == 1 / spec.sigma_r


def test_training_learns(data, tmp_path):
    terms: list[dict[str, float]] = []
    settings = config(60, optimizer={"schedule": "cosine"}, checkpoint_every=1000)
    fit(settings, data, tmp_path, progress=lambda _, t: terms.append(t))
    assert np.mean([t["coarse"] for t in terms[-10:]]) < 0.3 * terms[0]["coarse"]
    assert "denoiser" not in terms[3]
    assert "denoiser" in terms[4]
    lines = log(tmp_path)
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert lines[-1]["rate"] < lines[1]["rate"]
    assert all(0 <= line["waiting"] <= 1 for line in lines)
    psnr = lines[-1]["validation"]["standard"]
    assert psnr["coarse"] > 10
    assert set(psnr) == {"low", "coarse", "sample", "ams"}


def test_from_simulation_to_reconstruction_by_commands(simulated, tmp_path, capsys):
    """prepare, train, export, inspect, reconstruct, evaluate, each as a user types it."""
    (tmp_path / "unit.toml").write_text(as_toml(config(6, model={"scale": {}})))
    data, model, out = (str(tmp_path / name) for name in ("data", "model", "out.nii.gz"))
    split = ["--split", "0.6,0.4,0", "--seed", "1"]
    assert run(["prepare", str(simulated), "--out", data, *split]) == 0
    arguments = ["train", str(tmp_path / "unit.toml"), "--data", data, "--out"]
    arguments += [str(tmp_path / "run"), "--threads", "1"]
    assert run(arguments) == 0
    assert run(arguments) == 2  # a run is not overwritten
    assert run(["export", str(tmp_path / "run"), "-o", model]) == 0
    capsys.readouterr()
    assert run(["inspect", model, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"]["name"] == "unit"
    assert facts["export"]["source"]["step"] == 6
    low, full = (str(simulated / f"sub-0002_rec-{rec}_pet.nii.gz") for rec in ("1to100", "full"))
    assert run(["reconstruct", low, out, "--model", model, "--allow-activity-change"]) == 0
    assert run(["evaluate", out, full]) == 0
    assert "standard" in capsys.readouterr().out


def test_runtime_agrees_with_validation(simulated, data, tmp_path):
    """The exported model makes the images that the training was judged by."""
    from petrt.export.bundle import export_bundle
    from petrt.train.validate import predict

    checkpoint = fit(config(6), data, tmp_path / "run")
    model, spec, _ = load_checkpoint(checkpoint)
    export_bundle(checkpoint, tmp_path / "bundle")
    pair = open_dataset(data).pair("sub-0002", 100)
    images = predict(model, spec, pair.low, range(len(pair.low)), dose=0.01, samples=4)
    runtime = Reconstructor(tmp_path / "bundle", samples=4, threads=1)
    result = runtime(simulated / "sub-0002_rec-1to100_pet.nii.gz")
    scale = result.stats["frames"][0]["scale"]
    for image, expected in ((result.image, images["ams"]), (result.coarse, images["coarse"])):
        got = image.get_fdata().transpose(2, 0, 1) / scale
        np.testing.assert_allclose(got, expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize(
    ("network", "images"),
    [
        ({"coarse": None}, {"low", "sample", "ams"}),
        ({"denoiser": None, "guides": "nas"}, {"low", "coarse"}),
        ({"guides": "none"}, {"low", "coarse", "sample", "ams"}),
        ({"dose": True}, {"low", "coarse", "sample", "ams"}),
    ],
)
def test_every_kind_of_network_trains(data, tmp_path, network, images):
    fit(config(2, coarse_steps=0, network=network), data, tmp_path)
    assert set(log(tmp_path)[-1]["validation"]["standard"]) == images


def test_bf16_trains_and_keeps_float32_weights(data, tmp_path):
    fit(config(2, coarse_steps=0, precision="bf16"), data, tmp_path / "bf16")
    fit(config(2, coarse_steps=0), data, tmp_path / "fp32")
    got, expected = weights(tmp_path / "bf16"), weights(tmp_path / "fp32")
    assert {tensor.dtype for tensor in got.values()} == {torch.float32}
    assert any(not torch.equal(got[name], tensor) for name, tensor in expected.items())


def test_fine_tuning_begins_with_the_given_weights(data, tmp_path):
    """The same networks with a dose, whose tensors are new and start as nothing."""
    fit(config(4), data, tmp_path / "first")
    still = {"optimizer": {"rate": 1e-30}, "coarse_steps": 0}
    fit(config(1, network={"dose": True}, **still), data, tmp_path / "run", init=tmp_path / "first")
    got, expected = weights(tmp_path / "run"), weights(tmp_path / "first")
    for name, tensor in got.items():
        start = expected.get(name, torch.zeros_like(tensor))
        torch.testing.assert_close(tensor, start, rtol=0, atol=1e-20, msg=name)
    assert {name.split(".")[-2] for name in got.keys() - expected.keys()} == {"dose"}
    wider = config(1, network={"coarse": UNET | {"base": 8}})
    with pytest.raises(InputError, match="coarse network differs"):
        fit(wider, data, tmp_path / "wider", init=tmp_path / "first")
    assert not (tmp_path / "wider").exists()


@pytest.mark.parametrize(
    ("change", "says"), [("stepz = 3", "stepz"), ("batch = 0", "batch"), ("= =", "TOML")]
)
def test_bad_configuration_is_refused(tmp_path, change, says):
    path = tmp_path / "bad.toml"
    path.write_text(f"{change}\n{as_toml(config())}".replace("batch = 2\n", "", 1))
    with pytest.raises(InputError, match=says):
        load_config(path)


def test_unknown_preset_is_named():
    with pytest.raises(InputError, match="no training configuration 'nothing'"):
        load_config("nothing")


def test_unfit_data_is_refused(simulated, data, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InputError, match="run petrt prepare on it"):
        fit(config(), simulated, run)
    with pytest.raises(InputError, match=r"model\.scale is .* volume_ml=84"):
        fit(config(model={"scale": {}}), data, run)
    with pytest.raises(InputError, match=r"model\.domain\.voxel_mm is \(2\.0"):
        fit(config(model={"domain": {"voxel_mm": [2, 2, 2]}}), data, run)
    with pytest.raises(InputError, match=r"sub-0000 has no dose of data\.doses"):
        fit(config(data={"doses": {50: 1.0}}), data, run)
    assert not run.exists()


def test_a_run_goes_on_as_what_it_was(data, tmp_path):
    settings = config(2, coarse_steps=0)
    with pytest.raises(UsageError, match=r"holds no checkpoint.*without --resume"):
        fit(settings, data, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()
    fit(settings, data, tmp_path / "run")
    with pytest.raises(UsageError, match="run holds a training run; continue it with --resume"):
        fit(settings, data, tmp_path / "run")
    for other, says in (
        ({"seed": 6}, "seed = 5, not 6"),
        ({"optimizer": {"rate": 1e-4}}, "optimizer.rate = 0.003, not 0.0001"),
        ({"data": {"doses": {100: 1.0, 20: 1.0}}}, "data.doses.20 = None, not 1.0"),
    ):
        with pytest.raises(InputError, match=says):
            fit(config(3, coarse_steps=0, **other), data, tmp_path / "run", resume=True)
    changes = {"validate_every": 7, "data": {"workers": 1}, "validation": {"subjects": 0}}
    longer = config(3, coarse_steps=0, **changes)
    assert fit(longer, data, tmp_path / "run", resume=True).name == "step-00000003"


def test_other_data_are_refused_on_resume(data, tmp_path):
    fit(config(1, coarse_steps=0), data, tmp_path / "run")
    other = tmp_path / "data"
    other.mkdir()
    for path in data.iterdir():
        (other / path.name).symlink_to(path)
    (other / "train.txt").unlink()
    (other / "train.txt").write_text("sub-0000\n")
    with pytest.raises(InputError, match="another data set or split"):
        fit(config(2, coarse_steps=0), other, tmp_path / "run", resume=True)


def test_what_is_recorded_of_a_run(data, tmp_path):
    settings = config(1, coarse_steps=0)
    fit(settings, data, tmp_path / "run")
    fit(config(2, coarse_steps=0), data, tmp_path / "run", resume=True)
    text = (tmp_path / "run" / "run.json").read_text()
    facts = json.loads(text)
    assert [session["after_step"] for session in facts["sessions"]] == [0, 1]
    assert facts["config"]["steps"] == 2
    assert facts["dataset"]["subjects"] == {"train": 2, "validation": 1, "test": 0}
    assert len(facts["dataset"]["sha256"]) == 64
    assert facts["sessions"][0]["versions"]["torch"] == version("torch")
    assert str(Path.home()) not in text
    assert str(tmp_path) not in text
