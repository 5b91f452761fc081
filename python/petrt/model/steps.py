"""The language that networks are written in: one step after the other, each with its inputs by name.

A folded network consists of nine kinds of steps. Everything else is written from them: ONNX
(``to_onnx``), the programs of the native engine, the torch engine's modules, operation counts.

Values are images [batch, channels, height, width] or vectors [batch or 1, channels], float32 or
narrower. A step reads what the graph's inputs or earlier steps make. Weights are named; their values
stand beside the steps, see ``petrt.model.network``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# A number, a name ("slices"), or a name over a power of two ("height/4").
Dim = int | str
Dims = tuple[Dim, ...]


class _Strict:
    """Read from a file, an unknown key is an error."""

    __pydantic_config__ = {"extra": "forbid", "strict": True}  # noqa: RUF012


@dataclass(frozen=True, kw_only=True)
class Norm(_Strict):
    """GroupNorm with a scale and shift of each channel [C], and SiLU behind it or not."""

    groups: int
    epsilon: float
    weight: str
    bias: str
    silu: bool


@dataclass(frozen=True, kw_only=True)
class Conv(_Strict):
    """``out`` = convolution of ``x`` + bias; zeros around the image, so that stride 1 keeps its size.

    ``x`` is first normalised, or doubled in height and width (nearest neighbour), or neither.
    Kernels: 1 or 3, weight [out, in, k, k]. ``transposed``: kernel 4, stride 2, weight [in, out, 4, 4],
    which doubles height and width.
    """

    kind: Literal["conv"] = "conv"
    out: str
    x: str
    weight: str
    bias: str | None = None
    norm: Norm | None = None
    upsampled: bool = False
    stride: Literal[1, 2] = 1
    transposed: bool = False


@dataclass(frozen=True, kw_only=True)
class Add(_Strict):
    """``out`` = a + b, images of one size."""

    kind: Literal["add"] = "add"
    out: str
    a: str
    b: str


@dataclass(frozen=True, kw_only=True)
class AddMap(_Strict):
    """``out`` = x + map: the map of a slice is added to every sample of the slice.

    x [slices * samples, C, H, W], the samples of a slice side by side; map [slices, C, H, W].
    """

    kind: Literal["add_map"] = "add_map"
    out: str
    x: str
    map: str


@dataclass(frozen=True, kw_only=True)
class AddBias(_Strict):
    """``out`` = x + bias, a vector [batch or 1, C] that is added to every pixel."""

    kind: Literal["add_bias"] = "add_bias"
    out: str
    x: str
    bias: str


@dataclass(frozen=True, kw_only=True)
class Concat(_Strict):
    """``out`` = the channels of ``parts`` side by side."""

    kind: Literal["concat"] = "concat"
    out: str
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Attend(_Strict):
    """``out`` = softmax(scale q k^T) v over all pixels; q, k and v are thirds of the channels of ``qkv``.

    ``qkv`` is what a convolution makes of an image that is like ``out``.
    """

    kind: Literal["attend"] = "attend"
    out: str
    qkv: str
    scale: float


@dataclass(frozen=True, kw_only=True)
class Split(_Strict):
    """``outs`` = the vector ``x`` [batch or 1, C] cut into pieces of ``sizes``."""

    kind: Literal["split"] = "split"
    outs: tuple[str, ...]
    x: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Level(_Strict):
    """``out`` [batch, 1] = ln(x) * scale, of the numbers ``x`` [batch]: the dose as the networks take it."""

    kind: Literal["level"] = "level"
    out: str
    x: str
    scale: float


@dataclass(frozen=True, kw_only=True)
class Linear(_Strict):
    """``out`` [batch, C] = x * weight + bias, of numbers ``x`` [batch, 1]; weight and bias [C]."""

    kind: Literal["linear"] = "linear"
    out: str
    x: str
    weight: str
    bias: str


Step = Conv | Add | AddMap | AddBias | Concat | Attend | Split | Level | Linear


def inputs_of(step: Step) -> tuple[str, ...]:
    """The values that a step reads."""
    match step:
        case Add():
            return step.a, step.b
        case AddMap():
            return step.x, step.map
        case AddBias():
            return step.x, step.bias
        case Concat():
            return step.parts
        case Attend():
            return (step.qkv,)
        case _:
            return (step.x,)


def outputs_of(step: Step) -> tuple[str, ...]:
    """The values that a step makes."""
    return step.outs if isinstance(step, Split) else (step.out,)


def weights_of(step: Step) -> tuple[str, ...]:
    """The names of the weights that a step reads."""
    match step:
        case Conv():
            norm = () if step.norm is None else (step.norm.weight, step.norm.bias)
            return (*norm, step.weight, *(() if step.bias is None else (step.bias,)))
        case Linear():
            return step.weight, step.bias
        case _:
            return ()
