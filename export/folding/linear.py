"""The algebra of folding, which combines linear maps in a row (method.md section 4, items 1 to 5).

It computes in float64 and rounds to the network's dtype once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from petrt.nets.blocks import Block, GuidedBlock, NoiseEncoding
from petrt.nets.unet import Denoiser


def make_conv(weight: Tensor, bias: Tensor | None, like: nn.Conv2d) -> nn.Conv2d:
    """A conv of weight [c_out, c_in, k, k], with the stride, padding and dtype of ``like``."""
    c_out, c_in, height, width = weight.shape
    conv = nn.Conv2d(
        c_in,
        c_out,
        (height, width),
        stride=cast(tuple[int, int], like.stride),
        padding=cast(tuple[int, int], like.padding),
        bias=bias is not None,
        dtype=like.weight.dtype,
    )
    with torch.no_grad():
        conv.weight.copy_(weight)
        if conv.bias is not None and bias is not None:
            conv.bias.copy_(bias)
    return conv


def wide(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias in float64."""
    assert conv.bias is not None
    return conv.weight.detach().double(), conv.bias.detach().double()


def guide_map(mix: nn.Conv2d, guide: nn.Conv2d) -> nn.Conv2d:
    """Item 1: the guides' terms of a mix, with its bias, as one 1x1 conv of stacked features.

    mix(cat[x, guide(a), guide(f)]) = Ax x + [Aa W a + Af W f + (Aa + Af) b + bias]
    """
    weight, bias = wide(mix)
    inner, offset = wide(guide)
    shares = weight[:, mix.out_channels :, 0, 0].split(guide.out_channels, dim=1)  # Aa, Af
    stacked = torch.cat([share @ inner[:, :, 0, 0] for share in shares], dim=1)
    for share in shares:
        bias = bias + share @ offset
    return make_conv(stacked[:, :, None, None], bias, like=mix)


def second_share(block: GuidedBlock) -> Tensor:
    """Item 2: A2x [C, C], the second mix's weights for the output of the block's first half."""
    weight, _ = wide(block.mix2)
    return weight[:, : block.mix2.out_channels, 0, 0]


def input_halves(denoiser: Denoiser) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Item 4: conv(cat[x, r]) = conv_x(x) + conv_r(r); conv_x has the bias."""
    conv = cast(nn.Conv2d, denoiser.downs[0])
    weight, bias = wide(conv)
    return make_conv(weight[:, :1], bias, like=conv), make_conv(weight[:, 1:], None, like=conv)


def transposed(conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """Item 5: nearest x2 and then ``conv`` 3x3 = one transposed conv, kernel 4, stride 2, pad 1.

    Output o reads input i through the taps k with o + k - 1 in {2i, 2i + 1}, that is
    o + 1 - 2i in {2 - k, 3 - k}: row j of the new kernel sums the taps k = 2 - j and 3 - j.
    """
    weight, bias = wide(conv)
    taps = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.float64)
    kernel = torch.einsum("jy,kx,oiyx->iojk", taps, taps, weight)
    up = nn.ConvTranspose2d(
        conv.in_channels, conv.out_channels, 4, stride=2, padding=1, dtype=conv.weight.dtype
    )
    with torch.no_grad():
        up.weight.copy_(kernel)
        cast(Tensor, up.bias).copy_(bias)
    return up


def noise_bias_weights(denoiser: Denoiser, blocks: Sequence[Block]) -> dict[str, Tensor]:
    """Item 3: the weights for ``petrt.model.bundle.noise_bias_table``.

    ``film`` stacks the linears of ``blocks``; those of guided blocks are multiplied by A2x (item 2).
    """
    assert denoiser.noise_mlp is not None
    encoding, first, _, last = denoiser.noise_mlp
    assert isinstance(encoding, NoiseEncoding)
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    weights, biases = [], []
    for block in blocks:
        assert block.noise is not None
        weight, bias = block.noise.weight.detach().double(), block.noise.bias.detach().double()
        if isinstance(block, GuidedBlock):
            share = second_share(block)
            weight, bias = share @ weight, share @ bias
        weights.append(weight)
        biases.append(bias)
    dtype = first.weight.dtype
    return {
        "frequencies": encoding.frequencies(dtype),
        "mlp.0.weight": first.weight.detach(),
        "mlp.0.bias": first.bias.detach(),
        "mlp.1.weight": last.weight.detach(),
        "mlp.1.bias": last.bias.detach(),
        "film.weight": torch.cat(weights).to(dtype),
        "film.bias": torch.cat(biases).to(dtype),
    }
