"""A run that no longer learns is given up, with the reason and what to change."""

from __future__ import annotations

import math

import pytest
import torch

from petrt.cli.app import run
from petrt.errors import TrainingCollapsed
from petrt.train import trainer as trainer_module
from petrt.train.checkpoints import steps_of
from petrt.train.collapse import WINDOW, Watch
from petrt.train.fit import fit
from tests.train.runs import as_toml, config, log


def psnr(low: float, coarse: float) -> dict[str, dict[str, float]]:
    return {"standard": {"low": low, "coarse": coarse, "ams": 40.0}}


def test_a_coarse_prediction_that_stays_below_its_input():
    watch = Watch(config(100, coarse_steps=10))
    watch.validation(5, psnr(30, 10))  # P is still warming up
    watch.validation(10, psnr(30, 10))
    watch.validation(20, psnr(30, 31))
    watch.validation(30, psnr(30, 29))
    watch.validation(35, {})  # nothing was validated
    with pytest.raises(TrainingCollapsed, match=r"PSNR 28\.00 dB, input 30\.00 dB.*coarse_weight"):
        watch.validation(40, psnr(30, 28))


def test_a_coarse_prediction_that_is_on_its_way_is_left_to_learn():
    """High doses are hard to beat; what gains each time has not collapsed, what stops gaining has."""
    watch = Watch(config(100, coarse_steps=10))
    for step in range(10, 60, 10):
        watch.validation(step, psnr(40, 20 + step / 10))
    with pytest.raises(TrainingCollapsed):
        watch.validation(60, psnr(40, 25.05))
    spoilt = Watch(config(100, coarse_steps=10))
    spoilt.validation(10, psnr(40, math.nan))
    with pytest.raises(TrainingCollapsed):
        spoilt.validation(20, psnr(40, math.nan))


def test_without_a_warm_up_the_first_tenth_of_the_steps_is_forgiven():
    watch = Watch(config(100, coarse_steps=0))
    for step in range(1, 10):
        watch.validation(step, psnr(30, 10))
    watch.validation(10, psnr(30, 10))
    with pytest.raises(TrainingCollapsed, match=r"train P alone first \(coarse_steps\)"):
        watch.validation(11, psnr(30, 10))


def test_models_without_a_coarse_prediction_have_none_to_judge():
    watch = Watch(config(100, coarse_steps=0))
    for step in range(20, 30):
        watch.validation(step, {"standard": {"low": 30.0, "ams": 10.0}})


def test_a_guidance_target_that_shrinks():
    watch = Watch(config(), {"nas": 0.4})
    for step in range(WINDOW):  # one batch of air is no collapse
        watch.step(step, {}, {"nas": 0.0 if step == 3 else 0.15, "spectrum": 0.2})
    assert watch.start == {"nas": 0.4, "spectrum": pytest.approx(0.2)}
    for step in range(WINDOW, 2 * WINDOW):
        watch.step(step, {}, {"nas": 0.1001, "spectrum": 0.2})
    with pytest.raises(TrainingCollapsed, match=r"'nas' collapses.* from 0\.4 to 0\.098.*pooled"):
        watch.step(100, {}, {"nas": 0.0, "spectrum": 0.2})


@pytest.mark.parametrize(
    ("name", "says"), [("norm", "the gradient is not finite at step 7"), ("nas", "loss term 'nas'")]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite(name, says, value):
    with pytest.raises(TrainingCollapsed, match=f"{says}.*the last checkpoint is good"):
        Watch(config()).step(7, {"coarse": 1.0, name: value})


def test_the_last_good_checkpoint_stays(data, tmp_path, monkeypatch, capsys):
    """A loss that overflows at step 6: nothing of it enters weights or checkpoints. Exit code 6."""

    class Overflowing(trainer_module.Objective):
        calls = 0

        def forward(self, *arguments, **options):
            Overflowing.calls += 1
            terms = super().forward(*arguments, **options)
            return {k: v * (math.inf if Overflowing.calls == 6 else 1) for k, v in terms.items()}

    monkeypatch.setattr(trainer_module, "Objective", Overflowing)
    (tmp_path / "unit.toml").write_text(as_toml(config(8)))
    arguments = ["train", str(tmp_path / "unit.toml"), "--data", str(data), "--threads", "1"]
    assert run([*arguments, "--out", str(tmp_path / "run")]) == 6
    assert "not finite at step 5" in capsys.readouterr().err
    assert steps_of(tmp_path / "run") == [0, 4]
    assert run([*arguments, "--out", str(tmp_path / "run"), "--resume"]) == 0


def test_weights_that_are_not_finite_are_not_kept(data, tmp_path):
    def spoil(step: int, _: dict[str, float]) -> None:
        if step == 3:
            for optimizer in optimizers:
                next(iter(optimizer.state)).data.fill_(torch.nan)

    optimizers: list[torch.optim.Adam] = []

    class Kept(torch.optim.Adam):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            optimizers.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "Adam", Kept)
        settings = config(8, checkpoint_every=1, validation={"subjects": 0})
        with pytest.raises(TrainingCollapsed, match="not finite at step 3"):
            fit(settings, data, tmp_path, progress=spoil)
    assert steps_of(tmp_path) == [1, 2]


def test_a_run_that_does_not_learn_is_stopped_by_its_validations(data, tmp_path):
    bad = config(50, coarse_steps=1, validate_every=2, optimizer={"rate": 1e-12})
    with pytest.raises(TrainingCollapsed, match="worse than its input at step 4"):
        fit(bad, data, tmp_path)
    assert [line["step"] for line in log(tmp_path)] == [2, 4]
