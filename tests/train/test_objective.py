"""The objective on a tiny model: its terms, where their gradients go, what it watches."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from petrt.nets import Model
from petrt.nets.presets import PRESETS
from petrt.train.config import TrainConfig
from petrt.train.data import Batch
from petrt.train.objective import Objective

SIZE = 16


def config(network: Any = PRESETS["tiny"], **loss: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "steps": 1,
            "coarse_steps": 0,
            "model": {"name": "t", "network": network, "domain": {"voxel_mm": [2.0, 2.0, 2.0]}},
            "loss": loss,
        }
    )


def batch(count: int = 2, *, spectrum: bool = True, negatives: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(count)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=generator)

    guides = [draw(1, SIZE, SIZE) if spectrum else None for _ in range(2)]
    return Batch(
        draw(1, SIZE, SIZE),
        draw(1, SIZE, SIZE),
        draw(5, SIZE, SIZE),
        draw(5, SIZE, SIZE),
        0.01 + 0 * draw(),
        draw(1, SIZE, SIZE),
        0.1 + 0.8 * draw(),
        *guides,
        draw(negatives, SIZE, SIZE) if negatives else None,
    )


def objective(settings: TrainConfig) -> Objective:
    torch.manual_seed(0)
    return Objective(Model(settings.model.network), settings)


def gradient(module: torch.nn.Module | None) -> float:
    assert module is not None
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    return float(sum(g.abs().sum() for g in grads)) if grads else 0.0


def test_terms_are_those_of_equation_9():
    loss = objective(config(contrastive="margin", contrastive_weight=1.0))
    assert set(loss(batch(), denoising=False)) == {"coarse", "nas", "spectrum"}
    terms = loss(batch(), denoising=True, sigma_r=0.1)
    assert set(terms) == {"coarse", "nas", "spectrum", "denoiser", "contrastive"}
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    with pytest.raises(ValueError, match="sigma_r"):
        loss(batch(), denoising=True)


def test_weights_multiply_their_terms():
    many = {"coarse_weight": 2.0, "nas": 3.0, "spectrum": 5.0, "denoiser_weight": 7.0}
    one, two = (
        objective(config(contrastive="infonce", **weights))(batch(), denoising=True, sigma_r=0.1)
        for weights in ({"contrastive_weight": 1.0}, many | {"contrastive_weight": 11.0})
    )
    ratios = {name: float((two[name] / one[name]).detach()) for name in one}
    expected = {"coarse": 2, "nas": 3, "spectrum": 5, "denoiser": 7, "contrastive": 11}
    assert ratios == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("term", ["denoiser", "contrastive"])
@pytest.mark.parametrize("detach", [True, False])
def test_the_denoiser_trains_the_coarse_network_only_in_the_papers_form(detach, term):
    weight = 1.0 if detach else 0.0
    loss = objective(config(detach=detach, coarse_weight=weight, contrastive="paper"))
    loss(batch(), denoising=True, sigma_r=0.1)[term].backward()
    assert (gradient(loss.model.coarse) > 0) == (not detach)
    assert gradient(loss.model.denoiser) > 0
    assert gradient(loss.model.guidance) > 0


def test_a_perfect_denoiser_gives_the_full_dose_slice_whatever_p_predicts(monkeypatch):
    """y~ = x_cp + sigma_r r~_0 is y then, so that the paper's L_CL is minus the sum over negatives."""
    loss, b = objective(config(contrastive="paper", contrastive_weight=1.0)), batch()
    monkeypatch.setattr(loss.model.denoiser, "forward", lambda *_: b.noise)
    found = loss(b, denoising=True, sigma_r=0.1)["contrastive"].detach()
    expected = -(b.negatives - b.y).abs().mean((2, 3)).sum(1).mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_dose_reaches_the_guidance_of_networks_that_take_it():
    loss = objective(config(PRESETS["tiny"].model_dump() | {"dose": True}))
    loss(batch(), denoising=False)["nas"].backward()
    assert all(extractor.dose.weight.grad.any() for extractor in loss.model.guidance.nas)


@pytest.mark.parametrize("target", ["pooled", "extractor"])
def test_guidance_targets_and_the_watch_on_them(target):
    """The trainable downsampler can shrink its own target, which a fixed pooling forbids."""
    loss = objective(config(guidance_target=target))
    before = loss(batch(), denoising=False) and loss.diagnostics
    assert set(before) == {"nas_target_std", "spectrum_target_std"}
    with torch.no_grad():
        for extractor in loss.model.guidance.nas:  # type: ignore[union-attr]
            for parameter in extractor.downs.parameters():
                parameter.mul_(0.01)
    loss(batch(), denoising=False)
    ratio = loss.diagnostics["nas_target_std"] / before["nas_target_std"]
    assert ratio == pytest.approx(1) if target == "pooled" else ratio < 0.1


def test_losses_are_in_float32_under_mixed_precision():
    loss = objective(config(contrastive="official"))
    with torch.autocast("cpu", torch.bfloat16):
        terms = loss(batch(), denoising=True, sigma_r=0.1)
    assert {term.dtype for term in terms.values()} == {torch.float32}
