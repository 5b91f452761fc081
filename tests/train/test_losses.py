"""Each term of the objective by hand, and what it rewards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt.train import losses

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def image(value: float) -> torch.Tensor:
    return torch.full((1, 1, 4, 4), value)


def test_noisy_residual_has_its_moments():
    r0 = torch.full((2, 1, 200, 200), 0.5)
    noise = torch.randn(r0.shape, generator=torch.Generator().manual_seed(0))
    r = losses.noisy_residual(r0, torch.tensor([0.25, 0.81]), noise)
    assert r[0].mean() == pytest.approx(0.25, abs=0.02)
    assert r[1].var() == pytest.approx(0.19, abs=0.01)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_the_one_step_residual_inverts_the_noising(seed):
    r0, noise, gamma = draw(seed, (3, 1, 4, 4), (3, 1, 4, 4), (3,))
    gamma = 0.01 + 0.98 * gamma
    r_t = losses.noisy_residual(r0, gamma, noise)
    torch.testing.assert_close(losses.one_step_residual(r_t, noise, gamma), r0)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_under_v_an_error_counts_as_an_error_of_the_residual(seed):
    """l2, v: the squared error of r_0 over 1 - gamma."""
    r0, noise, error, gamma = draw(seed, *[(1, 1, 4, 4)] * 3, (1,))
    gamma = 0.01 + 0.98 * gamma
    r_t = losses.noisy_residual(r0, gamma, noise)
    found = losses.one_step_residual(r_t, noise + error, gamma)
    expected = ((found - r0) ** 2).mean() / (1 - gamma)
    loss = losses.main_loss(noise + error, noise, gamma, "l2", "v")
    torch.testing.assert_close(loss, expected.squeeze())


def test_main_loss_by_hand():
    noise = torch.zeros(2, 1, 2, 2)
    eps = torch.stack([torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), -2.0)])
    gamma = torch.tensor([0.25, 1.0])
    assert losses.main_loss(eps, noise, gamma, "l1", "eps") == pytest.approx(1.25)
    assert losses.main_loss(eps, noise, gamma, "l2", "eps") == pytest.approx((0.25 + 4) / 2)
    assert losses.main_loss(eps, noise, gamma, "l1", "v") == pytest.approx((1 + 2) / 2)
    assert losses.main_loss(eps, noise, gamma, "l2", "v") == pytest.approx((1 + 4) / 2)


def test_guidance_loss_by_hand():
    target = torch.arange(16.0).reshape(1, 1, 4, 4)
    pooled = torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]])
    targets = losses.guidance_targets(target, 2)
    assert losses.guidance_loss([pooled, torch.full((1, 1, 1, 1), 7.5)], targets) == 0
    wrong = [pooled + 1, torch.full((1, 1, 1, 1), 5.5)]
    assert losses.guidance_loss(wrong, targets) == pytest.approx(3)


def test_contrastive_forms_by_hand():
    y_tilde, y = image(0.5), image(0.4)
    negatives = torch.cat([image(0.8), image(0.1)], dim=1)
    assert losses.contrastive_paper(y_tilde, y, negatives) == pytest.approx(0.1 - 0.7)
    margin = losses.contrastive_margin(y_tilde, y, negatives, 0.25)
    assert margin == pytest.approx((0.05 + 0) / 2, abs=1e-6)
    weights = np.exp([-1.0, -3.0, -4.0])
    infonce = losses.contrastive_infonce(y_tilde, y, negatives, 0.1)
    assert infonce == pytest.approx(-np.log(weights[0] / weights.sum()), rel=1e-5)
    pull = 0.4 * np.log(0.4 / 0.5)
    push = np.mean([0.8 * np.log(0.8 / 0.5), 0.1 * np.log(0.1 / 0.5)])
    found = losses.contrastive_official(y_tilde, y, negatives, torch.tensor([0.25]))
    assert found == pytest.approx(1.75 * pull - 1.25 * push, rel=1e-5)
    assert losses.contrastive_official(y_tilde, y, negatives, torch.tensor([0.0])) == 0


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS)
def test_bounded_forms_are_lowest_at_the_right_image(seed):
    """Never negative, and no brighter image does better than the right one."""
    y, negatives = draw(seed, (2, 1, 8, 8), (2, 5, 8, 8))
    for form in (
        lambda image: losses.contrastive_margin(image, y, negatives, 0.02),
        lambda image: losses.contrastive_infonce(image, y, negatives, 0.1),
    ):
        right = form(y)
        assert right >= 0
        for brightness in (0.5, 2.0, 100.0):
            assert form(brightness * y) >= right - 1e-12


def test_the_official_form_bears_what_has_no_logarithm():
    """Zeros and the negative values that an estimate may have."""
    y_tilde = image(-0.1).requires_grad_()
    found = losses.contrastive_official(y_tilde, image(0), image(0), torch.tensor([0.5]))
    assert float(found.detach()) == pytest.approx(0, abs=1e-20)
    found = losses.contrastive_official(y_tilde, image(0.4), image(0), torch.tensor([0.5]))
    expected = 1.5 * 0.4 * (np.log(0.4) - np.log(1e-30))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert torch.isfinite(y_tilde.grad).all()


def test_the_official_form_rewards_brightness():
    """Twice and a hundred times the right image score better than it (method.md section 5)."""
    y, negatives = draw(3, (2, 1, 8, 8), (2, 5, 8, 8))
    negatives = 0.2 * negatives
    time = torch.full((2,), 0.1)
    scores = [losses.contrastive_official(k * y, y, negatives, time) for k in (1.0, 2.0, 100.0)]
    assert scores[2] < scores[1] < scores[0]


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_a_batch_costs_the_mean_of_its_items(kind):
    """So gradients averaged over processes are those of one process with all items."""
    y, y_tilde, negatives, gamma = draw(7, (4, 1, 8, 8), (4, 1, 8, 8), (4, 3, 8, 8), (4,))
    terms = [
        lambda i: losses.coarse_loss(y_tilde[i], y[i], kind),
        lambda i: losses.coarse_loss(y_tilde[i], y[i], kind, 1 + gamma[i]),
        lambda i: losses.main_loss(y_tilde[i], y[i], gamma[i], kind, "v"),
        lambda i: losses.guidance_loss([y_tilde[i]], [y[i]]),
        lambda i: losses.contrastive_paper(y_tilde[i], y[i], negatives[i]),
        lambda i: losses.contrastive_official(y_tilde[i], y[i], negatives[i], gamma[i]),
        lambda i: losses.contrastive_margin(y_tilde[i], y[i], negatives[i], 0.1),
        lambda i: losses.contrastive_infonce(y_tilde[i], y[i], negatives[i], 0.1),
    ]
    for term in terms:
        halves = torch.stack([term(slice(0, 2)), term(slice(2, 4))])
        torch.testing.assert_close(term(slice(0, 4)), halves.mean())


def test_the_smallest_dose_has_weight_one_and_a_quarter_dose_five_times_as_much():
    weights = losses.dose_weights(torch.tensor([0.01, 0.04, 0.25]), 0.01, 0.5)
    torch.testing.assert_close(weights, torch.tensor([1.0, 2.0, 5.0]))
