"""The sizes that a plan accepts, and the command that builds a plan for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from petrt.engines.base import ANY_BATCH, BatchRange, resolve_shapes
from petrt.errors import DeviceError

Shape = tuple[int, ...]
# Inputs and outputs of a graph: name -> [dimension], a number or a name such as "height/2".
Tensors = tuple[dict[str, list[Any]], dict[str, list[Any]]]


@dataclass(frozen=True)
class Sizes:
    """The sizes that a plan accepts. ``low`` and ``high``: smallest and largest number of slices and
    images, height and width, for those dimensions that the network's inputs have."""

    low: dict[str, int]
    high: dict[str, int]

    @classmethod
    def of(cls, tensors: Tensors, low: Mapping[str, Shape], high: Mapping[str, Shape]) -> Sizes:
        """The sizes from the smallest and the largest shape of each input."""
        return cls(_named(tensors, low), _named(tensors, high))

    @property
    def batch(self) -> BatchRange:
        """The range of images in a call, or of slices if the network has no such dimension."""
        name = "images" if "images" in self.low else "slices"
        return (self.low[name], self.high[name]) if name in self.low else ANY_BATCH

    def check(
        self, graph: str, tensors: Tensors, inputs: Mapping[str, Shape], command: str
    ) -> None:
        """Raise DeviceError if the plan does not accept ``inputs`` (name -> shape).

        The hint extends ``command``, which builds an engine of default sizes. Raises InputError if the
        shapes contradict each other."""
        resolve_shapes(tensors, inputs)
        asked = _named(tensors, inputs)
        wrong = [n for n, size in asked.items() if not self.low[n] <= size <= self.high[n]]
        if {"height", "width"} & set(wrong):
            taken = _range(*(f"{each['height']}x{each['width']}" for each in (self.low, self.high)))
            size = f"{asked['height']}x{asked['width']}"
            raise DeviceError(
                f"the engine takes slices of {taken} voxels, this volume has {size} on the model's grid",
                f"{command} --size {size}, or --engine torch",
            )
        for name in wrong:
            taken = _range(str(self.low[name]), str(self.high[name]))
            slices = asked.get("slices", 1)
            samples = f" --samples {asked['images'] // slices}" if "images" in asked else ""
            raise DeviceError(
                f"{graph}: {asked[name]} {name} in one call, the engine takes {taken}",
                f"{command} --slices {slices}{samples}",
            )


def same_shape(found: Any, declared: list[Any]) -> bool:
    """Whether a plan's shape (-1: dynamic) fits the network's; the plan may fix a named dimension."""
    return len(found) == len(declared) and all(
        isinstance(dim, str) or size == dim for size, dim in zip(found, declared, strict=True)
    )


def shape_text(shape: Shape) -> str:
    """(2, 1, 64, 64) as "2x1x64x64"."""
    return "x".join(map(str, shape))


def _named(tensors: Tensors, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The size of each dimension that has a name without a divisor."""
    return {
        dim: size
        for name, shape in shapes.items()
        for dim, size in zip(tensors[0][name], shape, strict=True)
        if isinstance(dim, str) and "/" not in dim
    }


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
