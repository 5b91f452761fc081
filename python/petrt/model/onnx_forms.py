"""The forms that a value of an exported ONNX graph can have while ``petrt.model.from_onnx`` reads it.

A step consists of several nodes; a form describes a value between two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from petrt.model.steps import Norm


@dataclass(frozen=True)
class Image:
    """A graph's input or a step's output.

    ``per_slice``: reshaped to [slices, samples, C, H, W]. ``shared``: a map as [slices, 1, C, H, W].
    """

    name: str
    per_slice: bool = False
    shared: bool = False

    @property
    def plain(self) -> bool:
        return not (self.per_slice or self.shared)


@dataclass(frozen=True)
class Bias:
    """A vector of biases [n, C]; ``turned``: as [n, C, 1, 1], ready to be added to an image."""

    name: str
    turned: bool


@dataclass(frozen=True, eq=False)
class Constant:
    """A stored tensor with the name of its initializer."""

    name: str
    array: NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """A vector of dimensions, read or computed."""


@dataclass(frozen=True)
class Flat:
    """An image as [n, ``groups``, -1], for a norm or an attention."""

    x: str
    groups: int


@dataclass(frozen=True)
class Normed:
    """A norm without its shift; ``back``: reshaped to an image again; ``weight``: its scale, once applied."""

    x: str
    groups: int
    epsilon: float
    weight: str = ""
    back: bool = False


@dataclass(frozen=True)
class Ready:
    """A convolution's input: normalised, or doubled in size if ``norm`` is None."""

    x: str
    norm: Norm | None


@dataclass(frozen=True)
class Gate:
    """The sigmoid of a norm's output."""

    of: Ready


@dataclass(frozen=True)
class Third:
    """The query, key or value of an attention; ``turned``: transposed."""

    qkv: str
    index: int
    turned: bool = False


@dataclass(frozen=True)
class Scores:
    """The products of queries and keys; ``name``: the attention's name, once they are scaled."""

    qkv: str
    scale: float = 1.0
    name: str = ""
    softmax: bool = False
    turned: bool = False


@dataclass(frozen=True)
class Log:
    """The logarithm of a dose, times ``scale`` once that is applied."""

    x: str
    scale: float | None = None


@dataclass(frozen=True)
class Product:
    """A dose level times a weight."""

    level: str
    weight: str


@dataclass(frozen=True)
class LevelMade:
    """The dose level that a Level step computes."""

    name: str


@dataclass(frozen=True)
class Pair:
    """The sum of images and a map, as [slices, samples, C, H, W]."""

    x: str
    map: str


@dataclass(frozen=True)
class Mixed:
    """The result of an attention, before it is reshaped to an image."""

    qkv: str
    scale: float
    name: str
