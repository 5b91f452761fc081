"""The folded layers as ONNX operators. Each function mirrors one ``forward``.

Forms were chosen by time on ONNX Runtime's CPU provider; the paper's denoiser at 128 x 128 took
272 ms a step with the GroupNormalization operator and 248 ms with the form below, one thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from torch import nn

from petrt.export.folding.fold import FoldedBlock, FoldedUNet, GuideMaps
from petrt.export.graphs.writer import GraphWriter
from petrt.nets.blocks import Attention, Block, Down, Head, Up
from petrt.nets.guidance import DECADES, Extractor


def conv(g: GraphWriter, m: nn.Module, x: str, name: str) -> str:
    """Convolution, plain or transposed."""
    assert isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    kind = "ConvTranspose" if isinstance(m, nn.ConvTranspose2d) else "Conv"
    inputs = [x, g.conv_weight(f"{name}.weight", m.weight)]
    if m.bias is not None:
        inputs.append(g.weight(f"{name}.bias", m.bias))
    pads = [int(p) for p in m.padding] * 2
    return g.op(kind, *inputs, kernel_shape=list(m.kernel_size), strides=list(m.stride), pads=pads)


def group_norm(g: GraphWriter, m: nn.GroupNorm, x: str, name: str) -> str:
    """GroupNorm as InstanceNormalization of groups, the form that engines recognise and fuse."""
    ones, zeros = g.fill(1.0, m.num_groups), g.fill(0.0, m.num_groups)
    h = g.op("Reshape", x, g.integers(0, m.num_groups, -1))
    h = g.op("InstanceNormalization", h, ones, zeros, epsilon=m.eps)
    h = g.op("Reshape", h, g.op("Shape", x))
    h = g.op("Mul", h, g.weight(f"{name}.weight", m.weight[:, None, None]))
    return g.op("Add", h, g.weight(f"{name}.bias", m.bias[:, None, None]))


def norm_silu_conv(
    g: GraphWriter, norm: nn.GroupNorm, m: nn.Conv2d, x: str, names: tuple[str, str]
) -> str:
    """conv(silu(norm(x))), the half of every residual block."""
    h = group_norm(g, norm, x, names[0])
    return conv(g, m, g.op("Mul", h, g.op("Sigmoid", h)), names[1])


def attention(g: GraphWriter, m: Attention, x: str, name: str) -> str:
    """Single-head self-attention over H*W positions, added to x."""
    width = m.out.out_channels
    h = conv(g, m.qkv, group_norm(g, m.norm, x, f"{name}.norm"), f"{name}.qkv")
    h = g.op("Reshape", h, g.integers(0, 3 * width, -1))
    query, key, value = g.split(h, [width] * 3, axis=1)
    weight = g.op("MatMul", g.op("Transpose", query, perm=[0, 2, 1]), key)
    scale = g.constant(f"{name}.scale", np.array(1 / math.sqrt(width), np.float32))
    weight = g.op("Softmax", g.op("Mul", weight, scale), axis=2)
    mixed = g.op("MatMul", value, g.op("Transpose", weight, perm=[0, 2, 1]))
    mixed = g.op("Reshape", mixed, g.op("Shape", x))
    return g.op("Add", x, conv(g, m.out, mixed, f"{name}.out"))


def add_map(g: GraphWriter, h: str, share: str, width: int) -> str:
    """h [B*N, C, H, W] + share [B, C, H, W] through [B, N, C, H, W]; reshapes copy nothing."""
    slices, area = g.op("Shape", share, start=0, end=1), g.op("Shape", share, start=2)
    per_slice = g.op("Concat", slices, g.integers(-1, width), area, axis=0)
    flat = g.op("Concat", g.integers(-1, width), area, axis=0)
    samples = g.op("Reshape", h, per_slice)
    return g.op("Reshape", g.op("Add", samples, g.op("Unsqueeze", share, g.integers(1))), flat)


def block(
    g: GraphWriter,
    m: Block | FoldedBlock,
    x: str,
    name: str,
    film: str | None = None,
    maps: Mapping[str, str] | None = None,
) -> str:
    """A residual block; ``film`` [1, C] and, for guided blocks, ``maps`` are its addends."""
    h, width = x, m.conv1.out_channels
    mix1 = m.mix1 if isinstance(m, FoldedBlock) else None
    if mix1 is not None and maps is not None:
        h = conv(g, mix1, x, f"{name}.mix1")
        h = add_map(g, h, maps[f"{name}.g1"], mix1.out_channels)
    h = norm_silu_conv(g, m.norm1, m.conv1, h, (f"{name}.norm1", f"{name}.conv1"))
    if film is not None:
        h = g.op("Add", h, g.op("Unsqueeze", film, g.integers(2, 3)))
    if mix1 is not None and maps is not None:
        h = add_map(g, h, maps[f"{name}.g2"], width)
    h = norm_silu_conv(g, m.norm2, m.conv2, h, (f"{name}.norm2", f"{name}.conv2"))
    straight = isinstance(m.shortcut, nn.Identity)
    h = g.op("Add", h, x if straight else conv(g, m.shortcut, x, f"{name}.shortcut"))
    if isinstance(m.attention, Attention):
        h = attention(g, m.attention, h, f"{name}.attention")
    return h


def upsample(g: GraphWriter, m: Up, x: str, name: str) -> str:
    """Nearest x2, then a 3x3 conv."""
    scales = g.constant("scales", np.array([1, 1, 2, 2], np.float32))
    doubled = g.op(
        "Resize",
        x,
        "",
        scales,
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    return conv(g, m.conv, doubled, name)


def unet(g: GraphWriter, m: FoldedUNet, h: str, film: str | None, maps: Mapping[str, str]) -> str:
    """A U-Net behind its input conv."""
    count = len(m.widths)
    films = iter(g.split(film, m.widths, axis=1) if film is not None else [None] * count)

    def apply(layer: nn.Module, h: str, name: str) -> str:
        if isinstance(layer, FoldedBlock):
            return block(g, layer, h, layer.name, next(films), maps)
        if isinstance(layer, Up):
            return upsample(g, layer, h, name)
        return conv(g, layer.conv if isinstance(layer, Down) else layer, h, name)

    skips = [h]
    for i, layer in enumerate(m.downs):
        h = apply(layer, h, f"downs.{i + 1}")
        skips.append(h)
    for i, layer in enumerate(m.mid):
        h = apply(layer, h, f"mid.{i}")
    for i, layer in enumerate(m.ups):
        if isinstance(layer, FoldedBlock):
            h = g.op("Concat", h, skips.pop(), axis=1)
        h = apply(layer, h, f"ups.{i}")
    return head(g, m.head, h)


def head(g: GraphWriter, m: Head, x: str) -> str:
    """The end of a U-Net."""
    return norm_silu_conv(g, m.norm, m.conv, x, ("head.norm", "head.conv"))


def guide_maps(g: GraphWriter, m: GuideMaps, features: list[str]) -> dict[str, str]:
    """The guide maps by name from the stacked features of each scale."""
    every = zip(m.shapes.items(), m.convs, strict=True)
    return {name: conv(g, c, features[scale - 1], name) for (name, (_, scale)), c in every}


def dose_level(g: GraphWriter, fraction: str) -> str:
    """The level [B, 1, 1, 1] of the fraction [B] of the full dose, see ``petrt.nets.guidance``."""
    scale = g.constant("dose.scale", np.array(1 / (DECADES * math.log(10)), np.float32))
    return g.op("Reshape", g.op("Mul", g.op("Log", fraction), scale), g.integers(-1, 1, 1, 1))


def extractor(g: GraphWriter, m: Extractor, guide: str, name: str, level: str | None = None) -> str:
    """One guide's features at one scale; the training-only head is left out."""
    h = guide
    for i, down in enumerate(m.downs):
        assert isinstance(down, Down)
        h = conv(g, down.conv, h, f"{name}.downs.{i}")
    h = conv(g, m.stem, h, f"{name}.stem")
    if m.dose is not None and level is not None:
        bias = g.op("Mul", level, g.weight(f"{name}.dose.weight", m.dose.weight[:, :, None]))
        bias = g.op("Add", bias, g.weight(f"{name}.dose.bias", m.dose.bias[:, None, None]))
        h = g.op("Add", h, bias)
    for i, each in enumerate(m.blocks):
        assert isinstance(each, Block)
        h = block(g, each, h, f"{name}.blocks.{i}")
    return h
