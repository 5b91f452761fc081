"""GroupNorm by channel: what PyTorch's computes, more exactly, and the same gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from petrt.model.group_norm import group_norm_by_channel
from petrt.nets.blocks import GroupNorm

EPS = 1e-5


def case(kind: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, int, Tensor, Tensor]:
    """Images, groups, weight and bias. "offset": a mean of a thousand spreads, where sums of squares fail;
    "uneven": channels of a group far from each other."""
    generator = torch.Generator().manual_seed(3)
    groups, channels, size = {"one": (6, 6, 9), "plain": (4, 12, 16)}.get(kind, (8, 64, 24))
    x = torch.randn(2, channels, size, size + 2, generator=generator, dtype=torch.float64)
    if kind == "offset":
        x = x * 1e-3 + 1.0
    if kind == "uneven":
        x = x + torch.linspace(-50, 50, channels, dtype=torch.float64)[:, None, None]
    weight, bias = torch.randn(2, channels, generator=generator, dtype=torch.float64)
    return x.to(dtype), groups, weight.to(dtype), bias.to(dtype)


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("kind", ["one", "plain", "many", "offset", "uneven"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_pytorch_in_float64(kind, layout):
    x, *rest = case(kind)
    found = group_norm_by_channel(x.contiguous(memory_format=layout), *rest, EPS)
    assert error(found, F.group_norm(x, *rest, EPS)) < 1e-12


@pytest.mark.parametrize(
    ("kind", "bound"), [("plain", 2e-7), ("many", 2e-7), ("offset", 2e-5), ("uneven", 5e-7)]
)
def test_in_float32_more_exact_than_pytorch_on_channels_last_images(kind, bound):
    """Measured, ours and PyTorch's: offset 1.3e-5 and 1.2e-2, uneven 3.5e-7 and 2.2e-5, others alike."""
    x, groups, weight, bias = case(kind, torch.float32)
    x = x.contiguous(memory_format=torch.channels_last)
    exact = F.group_norm(x.double(), groups, weight.double(), bias.double(), EPS)
    ours = error(group_norm_by_channel(x, groups, weight, bias, EPS), exact)
    theirs = error(F.group_norm(x, groups, weight, bias, EPS), exact)
    assert ours < bound
    assert ours < 1.3 * theirs


def test_gradients():
    x, groups, weight, bias = case("plain")
    leaves = [t.clone().requires_grad_() for t in (x[:1, :, :4, :3], weight, bias)]
    assert torch.autograd.gradcheck(
        lambda x, w, b: group_norm_by_channel(x, groups, w, b, EPS), leaves
    )


def test_on_a_cpu_the_networks_norm_has_the_bits_of_pytorch():
    x, groups, _, _ = case("many", torch.float32)
    ours, theirs = GroupNorm(groups, 64), torch.nn.GroupNorm(groups, 64)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(("autocast", "kept"), [(False, torch.bfloat16), (True, torch.float32)])
def test_on_a_gpu_the_networks_norm_goes_by_channel(monkeypatch, autocast, kept):
    """As far as it shows on a CPU: taken for a GPU's, with PyTorch's dtypes in and out of autocast."""

    class OnGpu(torch.Tensor):
        is_cuda = True

    x, groups, _, _ = case("many", torch.float32)
    norm = GroupNorm(groups, 64).bfloat16() if not autocast else GroupNorm(groups, 64)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: autocast)
    with torch.no_grad():
        found = norm(x.bfloat16().as_subclass(OnGpu))
    assert found.dtype == kept
    expected = F.group_norm(x.bfloat16().double(), groups, eps=EPS)
    assert error(torch.Tensor(found.float()), expected) < 5e-3
