"""Shapes, dtypes and structure of the networks."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from petrt.model.spec import Guides, NetworkSpec, UNetSpec
from petrt.nets.blocks import Attention, Block, GuidedBlock, NoiseEncoding
from petrt.nets.model import Model
from petrt.nets.presets import PRESETS
from petrt.nets.unet import Features

TINY = PRESETS["tiny"]


def tiny(guides: Guides, dtype: torch.dtype = torch.float32) -> Model:
    torch.manual_seed(0)
    return Model(TINY.model_copy(update={"guides": guides})).to(dtype).eval()


def run(model: Model, height: int, width: int, batch: int = 2) -> tuple[Tensor, Tensor, Features]:
    """Random inputs through every part: (x_cp, eps, features)."""
    dtype = next(model.parameters()).dtype
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    x, nas = normal(batch, 1, height, width), normal(batch, 5, height, width)
    r, level = normal(batch, 1, height, width), torch.linspace(0.2, 0.9, batch, dtype=dtype)
    assert model.coarse is not None
    assert model.denoiser is not None
    features: Features = ()
    if model.guidance is not None:
        features = model.guidance(nas, normal(*x.shape) if model.spec.guide_count == 2 else None)
    with torch.no_grad():
        return model.coarse(x, features), model.denoiser(x, r, level, features), features


@pytest.mark.parametrize("guides", ["none", "nas", "nas+spectrum"])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 20), (24, 12)])
def test_shapes(guides: Guides, height: int, width: int) -> None:
    coarse, eps, features = run(tiny(guides), height, width)
    assert coarse.shape == eps.shape == (2, 1, height, width)
    count = {"none": 0, "nas": 1, "nas+spectrum": 2}[guides]
    assert [len(at_scale) for at_scale in features] == ([count] * 2 if count else [])
    for k, at_scale in enumerate(features, start=1):
        assert {tuple(f.shape) for f in at_scale} == {(2, 8, height >> k, width >> k)}


def test_float64_agrees_with_float32() -> None:
    single, double = (
        run(tiny("nas+spectrum"), 8, 12),
        run(tiny("nas+spectrum", torch.float64), 8, 12),
    )
    for low, high in zip(single[:2], double[:2], strict=True):
        assert high.dtype == torch.float64
        torch.testing.assert_close(low.double(), high, rtol=1e-4, atol=1e-5)


def test_deterministic_and_independent_of_the_batch() -> None:
    model = tiny("nas+spectrum", torch.float64)
    first, again = run(model, 8, 8, batch=1), run(model, 8, 8, batch=1)
    assert torch.equal(first[1], again[1])
    assert model.coarse is not None
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    features = [[f.expand(3, -1, -1, -1) for f in at_scale] for at_scale in first[2]]
    together = model.coarse(x, features)
    alone = torch.cat([model.coarse(x[i : i + 1], first[2]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["tiny", "mini"])
def test_guided_blocks_sit_where_the_method_puts_them(name: str) -> None:
    spec = PRESETS[name]
    assert spec.coarse is not None
    with torch.device("meta"):
        coarse = Model(spec).coarse
    assert coarse is not None
    deepest = len(spec.coarse.multipliers) - 1
    scales = [b.scale for b in coarse.downs if isinstance(b, GuidedBlock)]
    assert scales == [k for k in range(1, deepest) for _ in range(spec.coarse.blocks)]
    assert [b.scale for b in coarse.mid if isinstance(b, GuidedBlock)] == [deepest, deepest]
    assert not any(isinstance(b, GuidedBlock) for b in coarse.ups)
    attending = [
        b for b in coarse.modules() if isinstance(b, Block) and isinstance(b.attention, Attention)
    ]
    assert attending == [coarse.mid[0]]


@pytest.mark.parametrize("guides", ["nas", "nas+spectrum"])
def test_every_parameter_and_input_matters(guides: Guides) -> None:
    model = tiny(guides)
    x, nas = torch.randn(2, 1, 8, 8), torch.randn(2, 5, 8, 8, requires_grad=True)
    r, level = torch.randn(2, 1, 8, 8, requires_grad=True), torch.tensor([0.3, 0.8])
    assert model.guidance is not None
    assert model.coarse is not None
    assert model.denoiser is not None
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
    assert model.coarse is not None
    assert model.guidance is not None
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
