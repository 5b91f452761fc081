"""Computes the dimensions of every value of a network and checks that its steps fit together.

The same rules serve named dimensions ("height/2"), when a network is read, and numbers, when it is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import NoReturn

from petrt.errors import InputError
from petrt.model.steps import (
    Add,
    AddBias,
    AddMap,
    Attend,
    Concat,
    Conv,
    Dim,
    Dims,
    Level,
    Linear,
    Split,
    Step,
    inputs_of,
    outputs_of,
)


def shapes(
    steps: Sequence[Step],
    weights: Mapping[str, tuple[int, ...]],
    inputs: Mapping[str, Dims],
    where: str,
) -> dict[str, Dims]:
    """Name of every value -> its dimensions: ``inputs``, then in the order of the steps.

    ``weights``: name -> shape. Raises InputError, which starts with ``where`` and names the step, for a
    value that is read before it is computed, a value that is computed twice, and shapes that do not fit.
    """
    return _Shapes(weights, inputs, where).run(steps)


class _Shapes:
    def __init__(
        self, weights: Mapping[str, tuple[int, ...]], inputs: Mapping[str, Dims], where: str
    ) -> None:
        self._weights, self._where = weights, where
        self._dims: dict[str, Dims] = dict(inputs)
        self._makers: dict[str, Step] = {}
        self._step = ""

    def run(self, steps: Sequence[Step]) -> dict[str, Dims]:
        for step in steps:
            self._step = f"{step.kind} '{outputs_of(step)[0]}'"
            for name in inputs_of(step):
                if name not in self._dims:
                    self._refuse(f"reads '{name}', which nothing before it makes")
            made = getattr(self, f"_{step.kind}")(step)
            results = made if isinstance(step, Split) else [made]
            names = outputs_of(step)
            if len(names) != len(results):
                self._refuse(f"makes {len(results)} values and names {len(names)}")
            for name, dims in zip(names, results, strict=True):
                if name in self._dims:
                    self._refuse(f"makes '{name}', which exists")
                self._dims[name] = dims
                self._makers[name] = step
        return self._dims

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"{self._where}: {self._step} {what}", "export the model again")

    def _image(self, name: str) -> tuple[Dim, int, Dim, Dim]:
        dims = self._dims[name]
        if len(dims) != 4 or not isinstance(dims[1], int):
            self._refuse(f"reads '{name}' of dimensions {list(dims)}, which is no image")
        return dims[0], dims[1], dims[2], dims[3]

    def _vector(self, name: str) -> tuple[Dim, int]:
        dims = self._dims[name]
        if len(dims) != 2 or not isinstance(dims[1], int):
            self._refuse(f"reads '{name}' of dimensions {list(dims)}, which is no vector")
        return dims[0], dims[1]

    def _weight(self, name: str, *expected: int) -> None:
        if name not in self._weights:
            self._refuse(f"has no weight '{name}'")
        if self._weights[name] != expected:
            self._refuse(f"has a weight '{name}' of shape {self._weights[name]}, not {expected}")

    def _number(self, value: float) -> None:
        if not 0 < value < inf:
            self._refuse(f"has the number {value}, not a positive one")

    def _conv(self, step: Conv) -> Dims:
        n, c, h, w = self._image(step.x)
        if step.norm is not None:
            if step.norm.groups < 1 or c % step.norm.groups:
                self._refuse(f"normalises {c} channels in {step.norm.groups} groups")
            self._number(step.norm.epsilon)
            for name in (step.norm.weight, step.norm.bias):
                self._weight(name, c)
        found = self._weights.get(step.weight, ())
        out, kernel = (found[1 if step.transposed else 0], found[2]) if len(found) == 4 else (0, 0)
        if kernel not in ((4,) if step.transposed else (1, 3)):
            self._refuse(f"has no kernel '{step.weight}' of a size it can have")
        self._weight(step.weight, *((c, out) if step.transposed else (out, c)), kernel, kernel)
        if step.bias is not None:
            self._weight(step.bias, out)
        several = [step.norm is not None, step.upsampled, step.stride == 2 or step.transposed]
        if sum(several) > 1 or (step.transposed and step.stride != 2):
            self._refuse("does two things at once that exclude each other")
        if step.upsampled or step.transposed:
            h, w = self._doubled(h), self._doubled(w)
        elif step.stride == 2:
            h, w = halved(h), halved(w)
        return n, out, h, w

    def _doubled(self, dim: Dim) -> Dim:
        if isinstance(dim, int):
            return 2 * dim
        base, _, over = dim.partition("/")
        if not over or int(over) % 2:
            self._refuse(f"doubles {dim}")
        return base if over == "2" else f"{base}/{int(over) // 2}"

    def _add(self, step: Add) -> Dims:
        a, b = self._image(step.a), self._image(step.b)
        if a != b:
            self._refuse(f"adds images of {list(a)} and {list(b)}")
        return a

    def _add_map(self, step: AddMap) -> Dims:
        x, each = self._image(step.x), self._image(step.map)
        # Named dimensions cannot be compared; a batch is taken to hold whole slices.
        whole = not (isinstance(x[0], int) and isinstance(each[0], int)) or x[0] % each[0] == 0
        if x[1:] != each[1:] or not whole:
            self._refuse(f"adds a map of {list(each)} to images of {list(x)}")
        return x

    def _add_bias(self, step: AddBias) -> Dims:
        x, bias = self._image(step.x), self._vector(step.bias)
        if bias[1] != x[1] or bias[0] not in (1, x[0]):
            self._refuse(f"adds biases of {list(bias)} to images of {list(x)}")
        return x

    def _concat(self, step: Concat) -> Dims:
        if not step.parts:
            self._refuse("joins nothing")
        n, _, h, w = self._image(step.parts[0])
        channels = 0
        for part in map(self._image, step.parts):
            if (part[0], *part[2:]) != (n, h, w):
                self._refuse(f"joins images of {[n, 'any', h, w]} and {list(part)}")
            channels += part[1]
        return n, channels, h, w

    def _attend(self, step: Attend) -> Dims:
        n, c, h, w = self._image(step.qkv)
        maker = self._makers.get(step.qkv)
        if not isinstance(maker, Conv) or self._image(maker.x) != (n, c // 3, h, w) or c % 3:
            self._refuse(f"reads '{step.qkv}', not made of an image of a third of its channels")
        self._number(step.scale)
        return n, c // 3, h, w

    def _split(self, step: Split) -> list[Dims]:
        n, c = self._vector(step.x)
        if sum(step.sizes) != c or min(step.sizes, default=0) < 1:
            self._refuse(f"cuts {c} channels into {list(step.sizes)}")
        return [(n, size) for size in step.sizes]

    def _level(self, step: Level) -> Dims:
        dims = self._dims[step.x]
        if len(dims) != 1:
            self._refuse(f"reads '{step.x}' of dimensions {list(dims)}, which are no numbers")
        self._number(step.scale)
        return dims[0], 1

    def _linear(self, step: Linear) -> Dims:
        n, c = self._vector(step.x)
        out = self._weights.get(step.weight, (0,))[0]
        if c != 1:
            self._refuse(f"reads vectors of {c} numbers, not of 1")
        self._weight(step.weight, out)
        self._weight(step.bias, out)
        return n, out


def halved(dim: Dim) -> Dim:
    """Half of a dimension, rounded up where it is a number."""
    if isinstance(dim, int):
        return (dim - 1) // 2 + 1
    base, _, over = dim.partition("/")
    return f"{base}/{2 * int(over or 1)}"
