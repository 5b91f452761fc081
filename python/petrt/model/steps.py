"""The steps of a network. A network is a list of them; each names its inputs, outputs and weights.

A folded network consists of nine kinds of steps. ONNX (``to_onnx``), the programs of the native engine,
the torch engine's modules and the operation counts are all generated from them.

A value is an image [batch, channels, height, width] or a vector [batch or 1, channels], float32 or 16 bit. A
step reads the network's inputs and outputs of earlier steps. ``petrt.model.network`` holds the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# A number, a name ("slices"), or a name divided by a number ("height/4").
Dim = int | str
Dims = tuple[Dim, ...]


class _Strict:
    """Base of all steps. An unknown key in a file is an error."""

    __pydantic_config__ = {"extra": "forbid", "strict": True}  # noqa: RUF012


@dataclass(frozen=True, kw_only=True)
class Norm(_Strict):
    """GroupNorm with scale ``weight`` [C] and shift ``bias`` [C], followed by SiLU if ``silu``."""

    groups: int
    epsilon: float
    weight: str
    bias: str
    silu: bool


@dataclass(frozen=True, kw_only=True)
class Conv(_Strict):
    """``out`` = convolution of ``x`` + bias, with zero padding that keeps the size at stride 1.

    ``x`` is first normalised (``norm``) or doubled in height and width by nearest neighbours
    (``upsampled``), or neither. ``weight`` is [out, in, k, k] with k = 1 or 3. With ``transposed`` it is
    [in, out, 4, 4], the stride is 2, and height and width double.
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
    """``out`` = a + b, images of the same shape."""

    kind: Literal["add"] = "add"
    out: str
    a: str
    b: str


@dataclass(frozen=True, kw_only=True)
class AddMap(_Strict):
    """``out`` = x + map. The map of a slice is added to every sample of the slice.

    ``x`` is [slices * samples, C, H, W], the samples of a slice consecutive; ``map`` is [slices, C, H, W].
    """

    kind: Literal["add_map"] = "add_map"
    out: str
    x: str
    map: str


@dataclass(frozen=True, kw_only=True)
class AddBias(_Strict):
    """``out`` = x + bias. The vector ``bias`` [batch or 1, C] is added to every pixel."""

    kind: Literal["add_bias"] = "add_bias"
    out: str
    x: str
    bias: str


@dataclass(frozen=True, kw_only=True)
class Concat(_Strict):
    """``out`` = the images ``parts`` concatenated along the channels."""

    kind: Literal["concat"] = "concat"
    out: str
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Attend(_Strict):
    """``out`` = softmax(scale q k^T) v over all pixels; q, k and v are thirds of the channels of ``qkv``.

    ``qkv`` is the output of a convolution whose input has the shape of ``out``.
    """

    kind: Literal["attend"] = "attend"
    out: str
    qkv: str
    scale: float


@dataclass(frozen=True, kw_only=True)
class Split(_Strict):
    """``outs`` = the vector ``x`` [batch or 1, C] split into pieces of ``sizes`` channels."""

    kind: Literal["split"] = "split"
    outs: tuple[str, ...]
    x: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Level(_Strict):
    """``out`` [batch, 1] = ln(x) * scale, the dose level that the networks take; ``x`` [batch]: doses."""

    kind: Literal["level"] = "level"
    out: str
    x: str
    scale: float


@dataclass(frozen=True, kw_only=True)
class Linear(_Strict):
    """``out`` [batch, C] = x * weight + bias; ``x`` [batch, 1], weight and bias [C]."""

    kind: Literal["linear"] = "linear"
    out: str
    x: str
    weight: str
    bias: str


Step = Conv | Add | AddMap | AddBias | Concat | Attend | Split | Level | Linear


def inputs_of(step: Step) -> tuple[str, ...]:
    """The names of the values that a step reads."""
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
    """The names of the values that a step computes."""
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
