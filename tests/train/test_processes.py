"""Two processes on halves of a batch do what one does on the whole."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from petrt.nets.checkpoint import load_checkpoint, load_state
from petrt.train.checkpoints import path_of, steps_of
from petrt.train.config import TrainConfig
from petrt.train.fit import fit
from tests.train.children import Child, together
from tests.train.runs import config, log

# Largest difference of a weight after 6 steps, measured 5e-7: Adam divides each gradient by its own
# size, so that where both are tiny, the order of a sum shows.
ATOL = 1e-5


def settings(**changes: object) -> TrainConfig:
    """The denoiser joins at step 3; 4 items, 2 in each of two processes."""
    loss = {"contrastive": "margin", "contrastive_weight": 1.0}
    return config(
        6, batch=4, coarse_steps=3, checkpoint_every=3, loss=loss, data={"negatives": 1}, **changes
    )


def test_two_processes_equal_one(data, tmp_path):
    one = Child(fit, settings(), data, tmp_path / "one")
    assert together(2, fit, settings(), data, tmp_path / "two") == [0, 0]
    assert one.wait() == 0
    for step in (3, 6):
        ours, theirs = (path_of(tmp_path / name, step) for name in ("two", "one"))
        (model, spec, _), (expected, wanted, _) = map(load_checkpoint, (ours, theirs))
        assert spec.sigma_r == pytest.approx(wanted.sigma_r, rel=1e-5)
        compare(model.state_dict(), expected.state_dict())
        compare(load_state(ours), load_state(theirs))
    (*_, got), (*_, single) = log(tmp_path / "two"), log(tmp_path / "one")
    assert got["step"] == single["step"] == 6
    assert got["terms"] == pytest.approx(single["terms"], rel=1e-4)
    assert got["norm"] == pytest.approx(single["norm"], rel=1e-4)
    for image, psnr in single["validation"]["standard"].items():
        assert got["validation"]["standard"][image] == pytest.approx(psnr, abs=1e-3)


def compare(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        # Second moments are squares of gradients that P's weight makes large.
        atol = 1e-4 * float(tensor.abs().max()) if "exp_avg" in name else ATOL
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=atol, msg=name)


def test_a_signal_to_one_stops_both_at_the_same_step(data, tmp_path):
    codes = together(2, stopped, settings(validation={"subjects": 0}), data, tmp_path)
    assert codes == [143, 143]
    assert steps_of(tmp_path) == [0, 2]


def stopped(settings: TrainConfig, data: Path, out: Path) -> None:
    """Train; the main process, which alone calls ``progress``, gets a signal in its second step."""
    import os

    from petrt.train.interrupt import TrainingStopped

    def progress(step: int, _: dict[str, float]) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        fit(settings, data, out, progress=progress)
    except TrainingStopped as stop:
        os._exit(stop.exit_code)
