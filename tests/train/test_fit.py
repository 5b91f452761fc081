"""Training on a few tiny simulated subjects: it learns, resumes exactly, and ends in a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from petrt.cli.app import run
from petrt.errors import InputError, UsageError
from petrt.nets.checkpoint import load_checkpoint
from petrt.reconstructor import Reconstructor
from petrt.schedule import log_snr
from petrt.simulate import write_dataset
from petrt.train.config import TrainConfig, load_config
from petrt.train.data import Sampler, load_pairs
from petrt.train.fit import fit
from petrt.train.losses import guidance_loss, log_snr_gamma, noisy_residual, wavegrad_gamma

CONFIG = """
seed = 5
steps = {steps}
coarse_steps = 4
batch = 2
checkpoint_every = 4
validate_every = 100

[data]
train = [0, 2]
validation = [2, 3]
crops = [[24, 32], [32, 32]]
shift = 2

[model]
name = "unit"
label = "simulated data; not for diagnostic use"
[model.domain]
voxel_mm = [6.0, 6.0, 6.0]
[model.scale]
volume_ml = 200.0
[model.network]
guides = "nas+spectrum"
coarse = {{ base = 4, multipliers = [1, 2, 2], blocks = 1, norm_groups = 2 }}
denoiser = {{ base = 4, multipliers = [1, 2, 2], blocks = 1, norm_groups = 2 }}
guidance = {{ stem = 4, widths = [4, 8], norm_groups = 2 }}

[loss]
coarse_weight = 100.0

[optimizer]
rate = 3e-3
warmup = 2
ema = 0.9
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, range(3), 1, shape=(32, 32, 16), voxel_mm=6.0)
    return folder


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def config(tmp_path: Path, steps: int) -> TrainConfig:
    path = tmp_path / f"unit{steps}.toml"
    path.write_text(CONFIG.format(steps=steps))
    return load_config(path)


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(checkpoint)[0].state_dict()


def test_resumed_run_equals_an_uninterrupted_one(data, tmp_path):
    settings = config(tmp_path, 8)
    whole = fit(settings, data, tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stop(step: int, terms: dict[str, float]) -> None:
        if step == 6:  # two steps after the checkpoint, which are then done again
            raise Stopped

    with pytest.raises(Stopped):
        fit(settings, data, tmp_path / "parts", progress=stop)
    parts = fit(settings, data, tmp_path / "parts", resume=True)
    expected, got = weights(whole), weights(parts)
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), name
    _, spec, info = load_checkpoint(parts)
    assert info["step"] == 8
    assert spec.sigma_r == pytest.approx(load_checkpoint(whole)[1].sigma_r, abs=0)
    assert spec.clip == pytest.approx(1 / spec.sigma_r)


def test_training_learns(data, tmp_path):
    terms: list[dict[str, float]] = []
    out = fit(config(tmp_path, 60), data, tmp_path / "run", progress=lambda _, t: terms.append(t))
    assert np.mean([t["coarse"] for t in terms[-10:]]) < 0.3 * terms[0]["coarse"]
    assert "denoiser" not in terms[3]
    assert "denoiser" in terms[4]
    assert terms[-1]["rate"] < terms[20]["rate"]
    psnr = json.loads((out.parent / "log.jsonl").read_text().splitlines()[-1])["psnr"]
    assert psnr["coarse"] > 10
    assert set(psnr) == {"low", "coarse", "ams"}


def test_from_simulation_to_reconstruction_by_commands(data, tmp_path, capsys):
    """train, export, inspect, reconstruct, evaluate, each as a user types it."""
    (tmp_path / "unit.toml").write_text(CONFIG.format(steps=6))
    arguments = ["train", tmp_path / "unit.toml", "--data", data, "--out", tmp_path / "run"]
    arguments += ["--threads", 1]
    assert run([*map(str, arguments)]) == 0
    assert run([*map(str, arguments)]) == 2  # a run is not overwritten
    assert run(["export", str(tmp_path / "run"), "-o", str(tmp_path / "model")]) == 0
    capsys.readouterr()
    assert run(["inspect", str(tmp_path / "model"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"]["name"] == "unit"
    assert facts["export"]["source"]["step"] == 6
    low, full = (data / f"sub-0002_rec-{rec}_pet.nii.gz" for rec in ("1to100", "full"))
    out = tmp_path / "out.nii.gz"
    code = run(["reconstruct", str(low), str(out), "--model", str(tmp_path / "model")])
    assert code == 0
    assert run(["evaluate", str(out), str(full)]) == 0
    assert "standard" in capsys.readouterr().out


def test_runtime_agrees_with_validation(data, tmp_path):
    """The exported model scores what the training said it would."""
    from petrt.export.onnx import export_bundle
    from petrt.train.validate import predict

    settings = config(tmp_path, 6)
    checkpoint = fit(settings, data, tmp_path / "run")
    model, spec, _ = load_checkpoint(checkpoint)
    export_bundle(checkpoint, tmp_path / "bundle")
    pair = load_pairs(data, (2, 3), 100, spec.domain, spec.scale)[0]
    coarse, mean = predict(model, spec, pair.low, range(16), 1)
    runtime = Reconstructor(tmp_path / "bundle", samples=4, threads=1)
    result = runtime(data / "sub-0002_rec-1to100_pet.nii.gz")
    scale = result.stats["frames"][0]["scale"]
    got = result.image.get_fdata().transpose(2, 0, 1) / scale
    np.testing.assert_allclose(got, mean, atol=1e-4 * np.abs(mean).max())
    got = result.coarse.get_fdata().transpose(2, 0, 1) / scale
    np.testing.assert_allclose(got, coarse, atol=1e-4 * np.abs(coarse).max())


def test_batches_depend_on_seed_and_step_alone(data, tmp_path):
    settings = config(tmp_path, 8)
    pairs = load_pairs(data, (0, 2), 100, settings.model.domain, settings.model.scale)
    one, two = (Sampler(pairs, settings.data, 3, 5, 1) for _ in range(2))
    one(0)
    batch = one(7)
    again = two(7)
    for name, tensor in vars(batch).items():
        assert torch.equal(tensor, getattr(again, name)), name
    assert not torch.equal(batch.x, one(8).x[:, :, : batch.x.shape[2], : batch.x.shape[3]])
    np.testing.assert_array_equal(batch.x, batch.x_nas[:, 2:3])
    assert (batch.x_spectrum.amax((1, 2, 3)) == 1).all()


def test_scale_comes_from_the_low_dose_volume_alone(data, tmp_path):
    domain, rule = config(tmp_path, 8).model.domain, config(tmp_path, 8).model.scale
    pair = load_pairs(data, (0, 1), 100, domain, rule)[0]
    import nibabel

    low, full = (
        nibabel.load(data / f"sub-0000_rec-{rec}_pet.nii.gz").get_fdata().transpose(2, 0, 1)
        for rec in ("1to100", "full")
    )
    ratio = low.max() / pair.low.max()
    np.testing.assert_allclose(pair.full * ratio, full, rtol=1e-5, atol=1e-2)


def test_noise_levels():
    generator = torch.Generator().manual_seed(0)
    g = log_snr_gamma(4000, 0.01, 0.99, generator).double().numpy()
    ends = np.array([1, 0.99, 0.01])
    assert g.min() >= ends[-1] - 1e-6
    assert g.max() <= ends[1] + 1e-6
    values = (log_snr(g) - log_snr(ends[-1:])) / (log_snr(ends[1:2]) - log_snr(ends[-1:]))
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)
    # method.md section 5: 44 % of WaveGrad's draws lie beyond what inference visits.
    wavegrad = wavegrad_gamma(20000, generator).numpy()
    assert np.mean(wavegrad < 0.0444726) == pytest.approx(0.44, abs=0.02)


def test_noisy_residual_has_its_moments():
    r0 = torch.full((2, 1, 200, 200), 0.5)
    noise = torch.randn(r0.shape, generator=torch.Generator().manual_seed(0))
    r = noisy_residual(r0, torch.tensor([0.25, 0.81]), noise)
    assert r[0].mean() == pytest.approx(0.25, abs=0.02)
    assert r[1].var() == pytest.approx(0.19, abs=0.01)


def test_guidance_loss_by_hand():
    target = torch.arange(16.0).reshape(1, 1, 4, 4)
    pooled = torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]])
    assert guidance_loss([pooled, torch.full((1, 1, 1, 1), 7.5)], target) == 0
    assert guidance_loss([pooled + 1, torch.full((1, 1, 1, 1), 5.5)], target) == pytest.approx(3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("stepz = 3", "stepz"),
        ("batch = 0", "batch"),
        ("= =", "TOML"),
    ],
)
def test_bad_configuration_is_refused(tmp_path, change, says):
    path = tmp_path / "bad.toml"
    text = CONFIG.format(steps=8).replace("batch = 2\n", "")
    path.write_text(f"{change}\n{text}")
    with pytest.raises(InputError, match=says):
        load_config(path)


def test_presets_are_valid_and_unknown_ones_named():
    for preset in ("demo", "default"):
        assert load_config(preset).model.network.guides == "nas+spectrum"
    with pytest.raises(InputError, match="no training configuration 'nothing'"):
        load_config("nothing")


def test_unfit_data_is_refused(data, tmp_path):
    settings = config(tmp_path, 8)
    with pytest.raises(InputError, match="sub-0000_rec-1to100"):
        fit(settings, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    other = settings.model_copy(update={"seed": 6})
    fit(settings.model_copy(update={"steps": 4}), data, tmp_path / "run")
    with pytest.raises(InputError, match="another 'seed'"):
        fit(other, data, tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match="--resume"):
        fit(settings, data, tmp_path / "run")
