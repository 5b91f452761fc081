"""What a value of an exported ONNX graph stands for while ``petrt.model.from_onnx`` reads it.

A step is several nodes; these are what lies between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from petrt.model.steps import Norm


@dataclass(frozen=True)
class Image:
    """A graph's input, or what a step makes; both of its forms in front of the addition of a map."""

    name: str
    per_slice: bool = False
    shared: bool = False

    @property
    def plain(self) -> bool:
        return not (self.per_slice or self.shared)


@dataclass(frozen=True)
class Bias:
    """A vector of biases; ``turned``: as [n, C, 1, 1], ready to be added."""

    name: str
    turned: bool


@dataclass(frozen=True, eq=False)
class Constant:
    """A stored tensor, by the name of its initializer."""

    name: str
    array: NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """Dimensions, or arithmetic with them."""


@dataclass(frozen=True)
class Flat:
    """Channels in ``groups`` rows: of a norm or of an attention."""

    x: str
    groups: int


@dataclass(frozen=True)
class Normed:
    """A norm up to its scale; ``back``: an image again."""

    x: str
    groups: int
    epsilon: float
    weight: str = ""
    back: bool = False


@dataclass(frozen=True)
class Ready:
    """What a convolution reads: normalised, or doubled."""

    x: str
    norm: Norm | None


@dataclass(frozen=True)
class Gate:
    """The sigmoid of a norm."""

    of: Ready


@dataclass(frozen=True)
class Third:
    """The query, key or value of an attention; ``turned``: transposed."""

    qkv: str
    index: int
    turned: bool = False


@dataclass(frozen=True)
class Scores:
    """The products of queries and keys; ``name``: of the attention, once they are scaled."""

    qkv: str
    scale: float = 1.0
    name: str = ""
    softmax: bool = False
    turned: bool = False


@dataclass(frozen=True)
class Log:
    """The logarithm of a dose, times ``scale``."""

    x: str
    scale: float | None = None


@dataclass(frozen=True)
class Product:
    """A level times a weight."""

    level: str
    weight: str


@dataclass(frozen=True)
class LevelMade:
    """The level of the dose."""

    name: str


@dataclass(frozen=True)
class Pair:
    """Images plus a map, by slice."""

    x: str
    map: str


@dataclass(frozen=True)
class Mixed:
    """The result of an attention, before it is an image again."""

    qkv: str
    scale: float
    name: str
