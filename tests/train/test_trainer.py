"""One step: rate, average, the residual's scale, initial weights."""

from __future__ import annotations

import math

import pytest
import torch
from accelerate import Accelerator

from petrt.data.dataset import open_dataset
from petrt.nets import Model
from petrt.train.data import ACTIVE, Batch, Slices
from petrt.train.trainer import Trainer, orthogonal
from tests.train.runs import config


@pytest.fixture
def batches(data) -> list[Batch]:
    shares = Slices(open_dataset(data), ["sub-0000", "sub-0001"], config())
    return [shares[step] for step in range(2)]


def trainer(**changes: object) -> Trainer:
    return Trainer(config(**changes), Accelerator())


def test_rate_warms_up_and_decays_or_stays():
    cosine = trainer(steps=100, optimizer={"rate": 1.0, "warmup": 4, "final_rate": 0.1})
    rates = []
    for cosine.step in range(101):
        rates.append(cosine.rate())
    assert rates[:3] == pytest.approx([0.25, 0.5, 0.75], rel=2e-3)
    assert rates[50] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    constant = trainer(steps=100, optimizer={"rate": 1.0, "warmup": 4, "schedule": "constant"})
    for step, rate in ((0, 0.25), (4, 1.0), (99, 1.0)):
        constant.step = step
        assert constant.rate() == rate


def test_sigma_r_is_the_spread_of_what_p_leaves(batches):
    one = trainer(model={"residual_std": 2.0})
    with torch.no_grad():
        one.model.coarse.head.conv.weight.zero_()  # P predicts its last bias everywhere
        one.model.coarse.head.conv.bias.fill_(0.25)
    residuals = torch.cat([(b.y - 0.25)[b.y > ACTIVE] for b in batches]).double()
    expected = math.sqrt(float((residuals**2).mean())) / 2
    assert one.measure_sigma_r(batches) == pytest.approx(expected, rel=1e-6)
    sr3 = trainer(network={"coarse": None}, coarse_steps=0)
    images = torch.cat([b.y[b.y > ACTIVE] for b in batches]).double()
    assert sr3.measure_sigma_r(batches) == pytest.approx(float((images**2).mean()) ** 0.5, rel=1e-6)
    assert trainer(model={"residual_std": 0}).measure_sigma_r(batches) == 1.0


def test_average_follows_the_weights(batches):
    one = trainer(optimizer={"ema": 0.5})
    before = [p.clone() for p in one.ema.parameters()]
    one.step = 100  # beyond the first steps, whose memory is shorter
    one.sigma_r = 1.0
    one.gradients(batches[0])
    one.update()
    moved = False
    for old, average, new in zip(before, one.ema.parameters(), one.model.parameters(), strict=True):
        torch.testing.assert_close(average, (old + new) / 2)
        moved = moved or not torch.equal(old, new)
    assert moved
    assert trainer(optimizer={"ema": 0.0}).averaged is not None


def test_the_gradient_is_that_of_the_sum_and_is_clipped(batches):
    one = trainer(optimizer={"clip": 0.5})
    losses = one.gradients(batches[0])
    gradients = [p.grad for p in one.model.parameters() if p.grad is not None]
    assert losses.norm > 0.5
    norm = torch.stack([g.norm() for g in gradients]).norm()
    assert norm == pytest.approx(0.5, rel=1e-4)
    assert all(p.grad is None for p in one.model.denoiser.parameters())
    free = trainer(optimizer={"clip": 0.0})
    assert free.gradients(batches[0]) == losses
    ratio = losses.norm / 0.5
    for p, clipped in zip(
        free.model.coarse.parameters(), one.model.coarse.parameters(), strict=True
    ):
        torch.testing.assert_close(p.grad, clipped.grad * ratio, rtol=1e-3, atol=1e-6)


def test_orthogonal_weights_leave_the_dose_at_nothing():
    network = Model(config(network={"dose": True}).model.network)
    orthogonal(network)
    weight = network.coarse.ups[0].conv1.weight.detach().flatten(1)
    identity = torch.eye(len(weight))
    torch.testing.assert_close(weight @ weight.T, identity, rtol=0, atol=1e-5)
    assert network.coarse.head.conv.bias.abs().max() == 0
    assert network.guidance.nas[0].dose.weight.abs().max() == 0
