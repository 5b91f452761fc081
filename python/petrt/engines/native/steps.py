"""The steps that petrt's own CPU kernels run, and what they read and write."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Ref:
    """A tensor in memory: a graph's input, or what a step writes."""

    name: str


@dataclass(frozen=True)
class Norm:
    """GroupNorm of ``x``, with SiLU behind it or not; what a convolution reads."""

    x: Ref
    groups: int
    epsilon: float
    weight: Array = field(compare=False)
    bias: Array = field(compare=False)
    silu: bool = False


@dataclass(frozen=True)
class Upsampled:
    """``x``, nearest, twice as high and wide; what a convolution reads."""

    x: Ref


@dataclass(frozen=True)
class Row:
    """Channels ``first`` to ``last`` of an input [1, C], for all images: the noise bias of one block."""

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class DoseRow:
    """The biases [images, C] of a dose: ln(dose) * scale * weight + bias."""

    dose: str
    scale: float
    weight: Array = field(compare=False)
    bias: Array = field(compare=False)


Source = Ref | Norm | Upsampled


@dataclass(frozen=True)
class Conv:
    """``out`` = convolution of ``x`` + bias + row + addends (of as many images, or fewer)."""

    out: str
    x: Source
    weight: Array = field(compare=False, repr=False)
    bias: Array | None = field(compare=False, repr=False)
    stride: int
    row: Row | DoseRow | None = None
    addends: tuple[Ref, ...] = ()

    @property
    def kernel(self) -> int:
        return int(self.weight.shape[2])


@dataclass(frozen=True)
class Add:
    """``out`` = a + b, b of as many images or fewer, or a row."""

    out: str
    a: Ref
    b: Ref | Row | DoseRow


@dataclass(frozen=True)
class Concat:
    """``out`` = the channels of ``parts`` side by side."""

    out: str
    parts: tuple[Ref, ...]


@dataclass(frozen=True)
class Attend:
    """``out`` = softmax(scale q k^T) v, with q, k, v the thirds of the channels of ``qkv``."""

    out: str
    qkv: Ref
    scale: float


Step = Conv | Add | Concat | Attend


def inputs_of(step: Step) -> list[Ref]:
    """The tensors that a step reads."""
    if isinstance(step, Conv):
        x = step.x if isinstance(step.x, Ref) else step.x.x
        return [x, *step.addends]
    if isinstance(step, Add):
        return [step.a, step.b] if isinstance(step.b, Ref) else [step.a]
    if isinstance(step, Concat):
        return list(step.parts)
    return [step.qkv]
