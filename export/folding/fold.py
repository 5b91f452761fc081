"""Exact rewrites of the networks for inference (method.md section 4): same function, less work.

The parts of the denoiser that depend on neither step nor sample move out of it: the guides' terms of every
guided block and the low-dose half of the input conv become maps, computed once per slice; the noise MLP
becomes a table, computed once per model. Two linear maps in a row become one. The folded modules have the
inputs and outputs of the bundle's networks. Weights are combined in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petrt.export.folding.linear import (
    guide_map,
    input_halves,
    make_conv,
    noise_bias_weights,
    second_share,
    transposed,
    wide,
)
from petrt.nets.blocks import Block, GuidedBlock, Up
from petrt.nets.model import Model
from petrt.nets.unet import Coarse, Denoiser, UNet, named_blocks

Upsample = Literal["conv", "transposed"]
Maps = Mapping[str, Tensor]
"""The maps of a guided block ``b``: ``b.g1`` is added before its first half, ``b.g2`` between the halves."""


def add_map(h: Tensor, share: Tensor) -> Tensor:
    """h [B*N, C, H, W] + share [B, C, H, W], broadcast over the N samples of a slice (item 6)."""
    samples = h.reshape(share.shape[0], -1, *h.shape[1:])
    return (samples + share[:, None]).reshape(h.shape)


class FoldedBlock(nn.Module):
    """A residual block that adds precomputed maps and a noise bias.

    ``mix1`` is x's term of the first mix; x's term of the second is folded into ``conv1``.
    """

    def __init__(self, block: Block, name: str) -> None:
        super().__init__()
        self.name = name
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.conv1, self.conv2 = block.conv1, block.conv2
        self.shortcut, self.attention = block.shortcut, block.attention
        self.mix1: nn.Conv2d | None = None
        if isinstance(block, GuidedBlock):
            weight, _ = wide(block.mix1)
            self.mix1 = make_conv(weight[:, : block.mix1.out_channels], None, like=block.mix1)
            share = second_share(block)
            weight, bias = wide(block.conv1)
            weight = torch.einsum("om,miyx->oiyx", share, weight)
            self.conv1 = make_conv(weight, share @ bias, like=block.conv1)

    def forward(self, x: Tensor, film: Tensor | None, maps: Maps) -> Tensor:
        """x [B*N, c_in, H, W], film [1, C] or None, maps [B, ...] -> [B*N, C, H, W]."""
        h = x
        if self.mix1 is not None:
            h = add_map(self.mix1(x), maps[f"{self.name}.g1"])
        h = self.conv1(F.silu(self.norm1(h)))
        if film is not None:
            h = h + film[:, :, None, None]
        if self.mix1 is not None:
            h = add_map(h, maps[f"{self.name}.g2"])
        h = self.conv2(F.silu(self.norm2(h))) + self.shortcut(x)
        return cast(Tensor, self.attention(h))


def map_shapes(unet: UNet) -> dict[str, tuple[int, int]]:
    """Name -> (channels C, scale k) of every guide map of a U-Net: [B, C, H/2^k, W/2^k]."""
    shapes = {}
    for name, block in named_blocks(unet):
        if isinstance(block, GuidedBlock):
            shapes[f"{name}.g1"] = (block.mix1.out_channels, block.scale)
            shapes[f"{name}.g2"] = (block.mix2.out_channels, block.scale)
    return shapes


class GuideMaps(nn.Module):
    """Computes all guide maps of one U-Net from the stacked features of each scale, by 1x1 convs."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.shapes = map_shapes(unet)
        self.convs = nn.ModuleList(
            conv
            for _, block in named_blocks(unet)
            if isinstance(block, GuidedBlock)
            for conv in (guide_map(block.mix1, block.guide1), guide_map(block.mix2, block.guide2))
        )

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """features[k - 1] [B, guides * width, H/2^k, W/2^k] -> maps by name, see ``map_shapes``."""
        every = zip(self.shapes.items(), self.convs, strict=True)
        return {name: conv(features[scale - 1]) for (name, (_, scale)), conv in every}


class FoldedUNet(nn.Module):
    """A U-Net without its input conv. ``film`` holds ``widths[i]`` noise biases for block i."""

    def __init__(self, unet: UNet, upsample: Upsample) -> None:
        super().__init__()

        def fold(layer: nn.Module, name: str) -> nn.Module:
            if isinstance(layer, Block):
                return FoldedBlock(layer, name)
            spread = isinstance(layer, Up) and upsample == "transposed"
            return transposed(layer.conv) if spread else layer  # type: ignore[arg-type]

        self.downs = nn.ModuleList(fold(m, f"downs.{i}") for i, m in enumerate(unet.downs) if i)
        self.mid = nn.ModuleList(fold(m, f"mid.{i}") for i, m in enumerate(unet.mid))
        self.ups = nn.ModuleList(fold(m, f"ups.{i}") for i, m in enumerate(unet.ups))
        self.head = unet.head
        self.widths = [block.conv1.out_channels for _, block in named_blocks(unet)]

    def forward(self, h: Tensor, film: Tensor | None, maps: Maps) -> Tensor:
        """h [B*N, base, H, W] from the input conv, film [1, sum(widths)] -> [B*N, 1, H, W]."""
        count = len(self.widths)
        films = iter(film.split(self.widths, dim=1) if film is not None else [None] * count)

        def apply(layer: nn.Module, h: Tensor) -> Tensor:
            folded = isinstance(layer, FoldedBlock)
            return cast(Tensor, layer(h, next(films), maps) if folded else layer(h))

        skips = [h]
        for layer in self.downs:
            h = apply(layer, h)
            skips.append(h)
        for layer in self.mid:
            h = apply(layer, h)
        for layer in self.ups:
            if isinstance(layer, FoldedBlock):
                h = torch.cat([h, skips.pop()], dim=1)
            h = apply(layer, h)
        return cast(Tensor, self.head(h))


class FoldedGuidance(nn.Module):
    """The guidance network: the slice, its guides and dose -> features for P, ``x_half`` and maps for D.

    It has only the inputs and outputs that are used.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        guides, denoiser = model.spec.guide_count, model.denoiser
        self.guidance = model.guidance
        self.inputs = (["x"] if denoiser else []) + ["nas", "spectrum"][:guides]
        self.inputs += ["dose"] if model.spec.dose else []
        scales = range(1, model.spec.scales + 1) if guides and model.coarse else ()
        self.features = [f"features_{k}" for k in scales]
        self.x_half = input_halves(denoiser)[0] if denoiser else None
        self.maps = GuideMaps(denoiser) if denoiser else None
        self.outputs = list(self.features)
        if self.maps is not None:
            self.outputs += ["x_half", *self.maps.shapes]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The tensors named in ``inputs`` -> the tensors named in ``outputs``."""
        given = dict(zip(self.inputs, inputs, strict=True))
        features: list[Tensor] = []
        if self.guidance is not None:
            per_guide = self.guidance(given["nas"], given.get("spectrum"), given.get("dose"))
            features = [torch.cat(maps, dim=1) for maps in per_guide]
        out = features[: len(self.features)]
        if self.x_half is not None and self.maps is not None:
            out = [*out, self.x_half(given["x"]), *self.maps(features).values()]
        return tuple(out)


class FoldedCoarse(nn.Module):
    """The coarse network: x or nas (``reads``), features_1 .. features_M -> x_cp."""

    def __init__(self, coarse: Coarse, upsample: Upsample = "conv", reads: str = "x") -> None:
        super().__init__()
        self.input = coarse.downs[0]
        self.maps = GuideMaps(coarse)
        self.body = FoldedUNet(coarse, upsample)
        scales = max((scale for _, scale in self.maps.shapes.values()), default=0)
        self.inputs = [reads, *(f"features_{k + 1}" for k in range(scales))]
        self.outputs = ["x_cp"]

    def forward(self, x: Tensor, *features: Tensor) -> tuple[Tensor]:
        """x [B, 1 or 5, H, W], features_k [B, guides * width, H/2^k, W/2^k] -> x_cp [B, 1, H, W]."""
        return (self.body(self.input(x), None, self.maps(features)),)


class FoldedDenoiser(nn.Module):
    """The denoiser: r, film, x_half, maps -> eps. The N samples of a slice share its maps."""

    def __init__(self, denoiser: Denoiser, upsample: Upsample = "conv") -> None:
        super().__init__()
        self.input = input_halves(denoiser)[1]
        self.body = FoldedUNet(denoiser, upsample)
        self.map_shapes = map_shapes(denoiser)
        self.inputs = ["r", "film", "x_half", *self.map_shapes]
        self.outputs = ["eps"]

    def forward(self, r: Tensor, film: Tensor, x_half: Tensor, *maps: Tensor) -> tuple[Tensor]:
        """r [B*N, 1, H, W], film [1, C], x_half [B, base, H, W], maps [B, ...] -> eps like r."""
        h = add_map(self.input(r), x_half)
        return (self.body(h, film, dict(zip(self.map_shapes, maps, strict=True))),)


FoldedPart = FoldedGuidance | FoldedCoarse | FoldedDenoiser


@dataclass(frozen=True)
class Folded:
    """A folded model: its networks by name, and the weights of the noise-bias table."""

    parts: dict[str, FoldedPart]
    noise_bias: dict[str, Tensor]


def fold(model: Model, upsample: Upsample = "conv") -> Folded:
    """Fold ``model``, with the same dtype. Unchanged layers are shared with it."""
    parts: dict[str, FoldedPart] = {}
    noise_bias: dict[str, Tensor] = {}
    if model.guidance is not None or model.denoiser is not None:
        parts["guidance"] = FoldedGuidance(model)
    if model.coarse is not None:
        parts["coarse"] = FoldedCoarse(model.coarse, upsample, model.spec.coarse_reads)
    if model.denoiser is not None:
        parts["denoiser"] = FoldedDenoiser(model.denoiser, upsample)
        blocks = [block for _, block in named_blocks(model.denoiser)]
        noise_bias = noise_bias_weights(model.denoiser, blocks)
    return Folded(parts, noise_bias)


def run_part(part: FoldedPart, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Run a network on its named inputs, taken from ``values``; returns its named outputs."""
    outputs = part(*(values[name] for name in part.inputs))
    return dict(zip(part.outputs, outputs, strict=True))
