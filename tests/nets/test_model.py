"""What the networks heed and refuse."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from petrt.model.spec import Guides, NetworkSpec, UNetSpec
from petrt.nets.blocks import Attention, NoiseEncoding
from petrt.nets.model import Model
from petrt.nets.presets import PRESETS

TINY = PRESETS["tiny"]


def tiny(guides: Guides) -> Model:
    torch.manual_seed(0)
    return Model(TINY.model_copy(update={"guides": guides})).eval()


@pytest.mark.parametrize("guides", ["nas", "nas+spectrum"])
def test_every_parameter_and_input_matters(guides: Guides) -> None:
    model = tiny(guides)
    x, nas = torch.randn(2, 1, 8, 8), torch.randn(2, 5, 8, 8, requires_grad=True)
    r, level = torch.randn(2, 1, 8, 8, requires_grad=True), torch.tensor([0.3, 0.8])
    features = model.guidance(nas, x if guides == "nas+spectrum" else None)
    heads = model.guidance.predict(features)
    for k, at_scale in enumerate(heads, start=1):
        channels = [5, 1][: len(at_scale)]
        assert [tuple(h.shape) for h in at_scale] == [(2, c, 8 >> k, 8 >> k) for c in channels]
    loss = (
        model.coarse(x, features).square().sum()
        + model.denoiser(x, r, level, features).square().sum()
    )
    loss = loss + sum(head.square().sum() for at_scale in heads for head in at_scale)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # Biases that a one-channel-per-group norm follows have no effect; every weight has.
        if name.endswith("weight"):
            assert parameter.grad.abs().max() > 0, name
    for tensor in (nas, r):
        assert tensor.grad is not None
        assert tensor.grad.abs().max() > 0


def test_noise_encoding() -> None:
    encoding = NoiseEncoding(32)(torch.tensor([0.7], dtype=torch.float64))[0]
    for k in (0, 5, 15):
        angle = 0.7 * math.exp(-math.log(1e4) * k / 16)
        assert encoding[k].item() == pytest.approx(math.sin(angle), rel=1e-14)
        assert encoding[16 + k].item() == pytest.approx(math.cos(angle), rel=1e-14)


def test_attention_is_scaled_dot_product_attention() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    q, k, v = (
        t.transpose(1, 2) for t in attention.qkv(attention.norm(x)).flatten(2).chunk(3, dim=1)
    )
    mixed = (
        torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
    )
    torch.testing.assert_close(attention(x), x + attention.out(mixed), rtol=1e-12, atol=1e-12)


def test_wrong_inputs_are_refused() -> None:
    model = tiny("nas")
    with pytest.raises(ValueError, match="multiples of 4, got 8 x 6"):
        model.coarse(torch.zeros(1, 1, 8, 6), [[torch.zeros(1, 8, 4, 3)]] * 2)
    with pytest.raises(ValueError, match="spectrum: False; one was given: True"):
        model.guidance(torch.zeros(1, 5, 8, 8), torch.zeros(1, 1, 8, 8))


def test_impossible_specifications_are_refused() -> None:
    flat, deep = UNetSpec(base=4, multipliers=(1,), norm_groups=2), UNetSpec(base=4, norm_groups=2)
    for coarse, denoiser in ((flat, flat), (flat, deep)):
        with pytest.raises(ValidationError, match="guides need U-Nets of one depth"):
            NetworkSpec(guides="nas", coarse=coarse, denoiser=denoiser)
    assert NetworkSpec(guides="none", coarse=flat, denoiser=deep).scales == 3
    with pytest.raises(ValidationError, match="base must be even"):
        UNetSpec(base=3, norm_groups=3)
    with pytest.raises(ValidationError, match="norm_groups 3 does not divide widths"):
        TINY.guidance.model_validate({"stem": 4, "widths": (4,), "norm_groups": 3})
