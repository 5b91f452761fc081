"""The folded layers as steps (``petrt.model.steps``). Each function mirrors one ``forward``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from petrt.export.folding.fold import FoldedBlock, FoldedUNet, GuideMaps
from petrt.model.network import Network
from petrt.model.steps import (
    Add,
    AddBias,
    AddMap,
    Attend,
    Concat,
    Conv,
    Dims,
    Level,
    Linear,
    Norm,
    Split,
    Step,
)
from petrt.nets.blocks import Attention, Block, Down, Head, Up
from petrt.nets.guidance import DECADES, Extractor

Precision = Literal["fp32", "fp16-weights"]


class StepWriter:
    """One network under construction. A value is a name; a method that adds a step returns its output.

    Precision "fp16-weights" stores convolutions' weights as float16, which must be exact. A parameter on
    the meta device, which has no values, becomes zeros that use no memory, for counting operations.
    """

    def __init__(self, precision: Precision = "fp32") -> None:
        self._precision = precision
        self._steps: list[Step] = []
        self._weights: dict[str, NDArray[Any]] = {}

    def add(self, step: Step) -> str:
        """Append a step that has one output."""
        assert not isinstance(step, Split)
        self._steps.append(step)
        return step.out

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """Split the vector ``x`` into pieces of ``sizes`` channels."""
        outs = tuple(f"{x}.{i}" for i in range(len(sizes)))
        self._steps.append(Split(outs=outs, x=x, sizes=tuple(sizes)))
        return list(outs)

    def weight(self, name: str, value: Tensor) -> str:
        """Add a float32 parameter, such as a bias or a norm's scale."""
        shape = tuple(value.shape)
        hollow = np.broadcast_to(np.float32(0), shape)
        self._weights[name] = hollow if value.is_meta else value.detach().numpy()
        return name

    def conv_weight(self, name: str, value: Tensor) -> str:
        """Add a convolution's weight, in the precision in which weights are stored."""
        self.weight(name, value)
        if self._precision == "fp16-weights" and not value.is_meta:
            array = self._weights[name]
            self._weights[name] = array.astype(np.float16)
            if not np.array_equal(self._weights[name].astype(np.float32), array):
                raise ValueError(f"{name} must be rounded to float16 before it is stored as such")
        return name

    def norm(self, m: nn.GroupNorm, name: str, *, silu: bool) -> Norm:
        """A norm, for a convolution that applies it to its input."""
        return Norm(
            groups=m.num_groups,
            epsilon=_float32(m.eps),
            weight=self.weight(f"{name}.weight", m.weight),
            bias=self.weight(f"{name}.bias", m.bias),
            silu=silu,
        )

    def network(
        self, name: str, inputs: Mapping[str, Dims], outputs: Mapping[str, Dims]
    ) -> Network:
        """The finished, checked network."""
        return Network(name, inputs, outputs, tuple(self._steps), self._weights)


def conv(
    s: StepWriter,
    m: nn.Module,
    x: str,
    name: str,
    *,
    norm: Norm | None = None,
    upsampled: bool = False,
    out: str = "",
) -> str:
    """A convolution, plain or transposed."""
    assert isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    bias = None if m.bias is None else s.weight(f"{name}.bias", m.bias)
    step = Conv(
        out=out or name,
        x=x,
        weight=s.conv_weight(f"{name}.weight", m.weight),
        bias=bias,
        norm=norm,
        upsampled=upsampled,
        stride=m.stride[0],  # type: ignore[arg-type]
        transposed=isinstance(m, nn.ConvTranspose2d),
    )
    return s.add(step)


def attention(s: StepWriter, m: Attention, x: str, name: str, out: str = "") -> str:
    """Single-head self-attention over H*W positions, added to x."""
    norm = s.norm(m.norm, f"{name}.norm", silu=False)
    qkv = conv(s, m.qkv, x, f"{name}.qkv", norm=norm)
    mixed = s.add(Attend(out=name, qkv=qkv, scale=_float32(1 / math.sqrt(m.out.out_channels))))
    return s.add(Add(out=out or f"{name}.sum", a=x, b=conv(s, m.out, mixed, f"{name}.out")))


def block(
    s: StepWriter,
    m: Block | FoldedBlock,
    x: str,
    name: str,
    film: str | None = None,
    maps: Mapping[str, str] | None = None,
    out: str = "",
) -> str:
    """A residual block, which adds the noise bias ``film`` [1, C] and, if it is guided, ``maps``."""
    h = x
    mix1 = m.mix1 if isinstance(m, FoldedBlock) else None
    if mix1 is not None and maps is not None:
        h = conv(s, mix1, x, f"{name}.mix1")
        h = s.add(AddMap(out=f"{name}.mixed1", x=h, map=maps[f"{name}.g1"]))
    norm = s.norm(m.norm1, f"{name}.norm1", silu=True)
    h = conv(s, m.conv1, h, f"{name}.conv1", norm=norm)
    if film is not None:
        h = s.add(AddBias(out=f"{name}.biased", x=h, bias=film))
    if mix1 is not None and maps is not None:
        h = s.add(AddMap(out=f"{name}.mixed2", x=h, map=maps[f"{name}.g2"]))
    norm = s.norm(m.norm2, f"{name}.norm2", silu=True)
    h = conv(s, m.conv2, h, f"{name}.conv2", norm=norm)
    straight = isinstance(m.shortcut, nn.Identity)
    side = x if straight else conv(s, m.shortcut, x, f"{name}.shortcut")
    if not isinstance(m.attention, Attention):
        return s.add(Add(out=out or f"{name}.sum", a=h, b=side))
    h = s.add(Add(out=f"{name}.sum", a=h, b=side))
    return attention(s, m.attention, h, f"{name}.attention", out)


def unet(
    s: StepWriter, m: FoldedUNet, h: str, film: str | None, maps: Mapping[str, str], out: str
) -> str:
    """A U-Net without its input conv."""
    count = len(m.widths)
    films = iter(s.split(film, m.widths) if film is not None else [None] * count)

    def apply(layer: nn.Module, h: str, name: str) -> str:
        if isinstance(layer, FoldedBlock):
            return block(s, layer, h, layer.name, next(films), maps)
        inner = layer.conv if isinstance(layer, Down | Up) else layer
        return conv(s, inner, h, name, upsampled=isinstance(layer, Up))

    skips = [h]
    for i, layer in enumerate(m.downs):
        h = apply(layer, h, f"downs.{i + 1}")
        skips.append(h)
    for i, layer in enumerate(m.mid):
        h = apply(layer, h, f"mid.{i}")
    for i, layer in enumerate(m.ups):
        if isinstance(layer, FoldedBlock):
            h = s.add(Concat(out=f"ups.{i}.joined", parts=(h, skips.pop())))
        h = apply(layer, h, f"ups.{i}")
    return head(s, m.head, h, out)


def head(s: StepWriter, m: Head, x: str, out: str) -> str:
    """The last layers of a U-Net: norm, SiLU, convolution."""
    return conv(s, m.conv, x, "head.conv", norm=s.norm(m.norm, "head.norm", silu=True), out=out)


def guide_maps(s: StepWriter, m: GuideMaps, features: Sequence[str]) -> dict[str, str]:
    """Name -> guide map, from the stacked features of each scale."""
    every = zip(m.shapes.items(), m.convs, strict=True)
    return {name: conv(s, c, features[scale - 1], name) for (name, (_, scale)), c in every}


def dose_level(s: StepWriter, fraction: str) -> str:
    """The dose level of a ``fraction`` [B] of the full dose, see ``petrt.nets.guidance``."""
    scale = _float32(1 / (DECADES * math.log(10)))
    return s.add(Level(out=f"{fraction}.level", x=fraction, scale=scale))


def extractor(
    s: StepWriter, m: Extractor, guide: str, name: str, level: str | None, out: str
) -> str:
    """One guide's features at one scale, named ``out``, without the training-only head."""
    h = guide
    for i, down in enumerate(m.downs):
        assert isinstance(down, Down)
        h = conv(s, down.conv, h, f"{name}.downs.{i}")
    h = conv(s, m.stem, h, f"{name}.stem")
    if m.dose is not None and level is not None:
        weight = s.weight(f"{name}.dose.weight", m.dose.weight[:, 0])
        bias = s.weight(f"{name}.dose.bias", m.dose.bias)
        told = s.add(Linear(out=f"{name}.dose", x=level, weight=weight, bias=bias))
        h = s.add(AddBias(out=f"{name}.dosed", x=h, bias=told))
    for i, each in enumerate(m.blocks):
        assert isinstance(each, Block)
        last = i + 1 == len(m.blocks)
        h = block(s, each, h, f"{name}.blocks.{i}", out=out if last else "")
    return h


def _float32(value: float) -> float:
    """``value`` rounded to float32, as ONNX stores it."""
    return float(np.float32(value))
