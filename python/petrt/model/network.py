"""A network: its steps and its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from petrt.errors import InputError
from petrt.model.shapes import shapes
from petrt.model.steps import Dim, Dims, Step, weights_of

LARGEST = 1 << 20  # dimension
Array = NDArray[Any]


@dataclass(frozen=True)
class Network:
    """One network of a bundle. ``inputs``, ``outputs``: name -> dimensions, in order.

    ``weights``: name -> float32 array. Convolution weights are float16 if they were exported so.
    Raises InputError for steps that do not fit together, an output that no step computes, and a weight
    that no step reads.
    """

    name: str
    inputs: Mapping[str, Dims]
    outputs: Mapping[str, Dims]
    steps: tuple[Step, ...]
    weights: Mapping[str, Array] = field(repr=False)

    def __post_init__(self) -> None:
        where = f"network {self.name}"
        for name, dims in {**self.inputs, **self.outputs}.items():
            if not all(map(_is_dimension, dims)):
                raise InputError(f"{where}: {name} has the dimensions {list(dims)}")
        for name, dims in self.outputs.items():
            if name in self.inputs or name not in self.dims:
                raise InputError(f"{where}: the output {name} is not computed")
            if self.dims[name] != dims:
                found = list(self.dims[name])
                raise InputError(f"{where}: {name} has the dimensions {found}, not {list(dims)}")
        read = {name for step in self.steps for name in weights_of(step)}
        if extra := sorted(self.weights.keys() - read):
            raise InputError(f"{where}: no step reads the weight {extra[0]}")
        for name, array in self.weights.items():
            if array.dtype not in (np.float32, np.float16):
                raise InputError(f"{where}: the weight {name} is of type {array.dtype}")

    @cached_property
    def dims(self) -> dict[str, Dims]:
        """Name of every value -> its dimensions."""
        return self._shapes(self.inputs)

    def shapes(self, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Name of every value -> its shape, for these input shapes. Raises InputError if they do not fit."""
        return cast(dict[str, tuple[int, ...]], self._shapes(inputs))

    def _shapes(self, inputs: Mapping[str, Dims]) -> dict[str, Dims]:
        sizes = {name: array.shape for name, array in self.weights.items()}
        return shapes(self.steps, sizes, inputs, f"network {self.name}")

    def weight(self, name: str) -> NDArray[np.float32]:
        """The weight ``name`` as float32."""
        array: NDArray[np.float32] = self.weights[name].astype(np.float32, copy=False)
        return array

    def sized(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Name -> shape of all inputs and outputs; ``sizes`` gives a number for each named dimension.

        Raises InputError for a dimension without a number, and a number that is not the needed multiple.
        """

        def number(dim: Dim, name: str) -> int:
            if isinstance(dim, int):
                return dim
            base, _, over = dim.partition("/")
            if base not in sizes:
                raise InputError(f"network {self.name}: {name} has the unknown dimension {dim}")
            size, rest = divmod(sizes[base], int(over or 1))
            if rest or size < 1:
                raise InputError(
                    f"network {self.name}: {name} wants {dim}, and {base} is {sizes[base]}",
                    f"give a multiple of {over or 1}",
                )
            return size

        every = {**self.inputs, **self.outputs}
        return {name: tuple(number(dim, name) for dim in dims) for name, dims in every.items()}


def _is_dimension(dim: Dim) -> bool:
    if isinstance(dim, int):
        return 1 <= dim <= LARGEST
    return re.fullmatch(r"[a-z]+(/[1-9][0-9]{0,5})?", dim) is not None
