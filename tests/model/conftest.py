"""Random networks of every kind of step, and one thread for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

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
from tests.nets.conftest import one_thread

__all__ = ["networks", "one_thread"]

KINDS = ("conv", "down", "up", "transposed", "add", "map", "bias", "dose", "concat", "attend")


class Growing:
    """A network to which one kind of step after the other is added, from a seed for all numbers."""

    def __init__(self, seed: int, halves: bool) -> None:
        self._rng = np.random.default_rng(seed)
        self._halves = halves
        self._steps: list[Step] = []
        self._weights: dict[str, Any] = {}
        self._inputs: dict[str, Dims] = {"r": self._dims("images", 2, 0)}
        # Images by name: channels and scale.
        self._images = {"r": (2, 0)}
        self._x = "r"

    @staticmethod
    def _dims(batch: str, channels: int, scale: int) -> Dims:
        over = f"/{2**scale}" if scale else ""
        return batch, channels, f"height{over}", f"width{over}"

    def _name(self, kind: str) -> str:
        return f"{kind}.{len(self._steps)}"

    def _array(self, name: str, *shape: int) -> str:
        array = (self._rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        self._weights[name] = (
            array.astype(np.float16) if self._halves and len(shape) == 4 else array
        )
        return name

    def _put(self, step: Any, channels: int, scale: int) -> str:
        self._steps.append(step)
        self._images[step.out] = (channels, scale)
        self._x = step.out
        return str(step.out)

    def _conv(self, channels: int, *, kernel: int = 3, out: str = "", **options: Any) -> str:
        name = self._name("conv")
        width, scale = self._images[self._x]
        transposed = options.get("transposed", False)
        sides = (width, channels) if transposed else (channels, width)
        biased = self._rng.random() < 0.7
        step = Conv(
            out=out or name,
            x=self._x,
            weight=self._array(f"{name}.weight", *sides, kernel, kernel),
            bias=self._array(f"{name}.bias", channels) if biased else None,
            **options,
        )
        doubled = transposed or step.upsampled
        return self._put(step, channels, scale - doubled + (step.stride == 2 and not transposed))

    def _norm(self, silu: bool) -> Norm:
        name, width = self._name("norm"), self._images[self._x][0]
        weight, bias = (self._array(f"{name}.{part}", width) for part in ("weight", "bias"))
        groups = int(self._rng.choice([1, 2, width]))
        return Norm(
            groups=groups, epsilon=float(np.float32(1e-5)), weight=weight, bias=bias, silu=silu
        )

    def add(self, kind: str) -> None:
        """One more step, or the few that make one of its kind possible."""
        channels, scale = self._images[self._x]
        wider = 2 * int(self._rng.integers(1, 4))
        if kind == "conv":
            norm = self._norm(bool(self._rng.random() < 0.7)) if self._rng.random() < 0.7 else None
            self._conv(wider, kernel=int(self._rng.choice([1, 3])), norm=norm)
        elif kind == "down" and scale < 2:
            self._conv(wider, stride=2)
        elif kind == "up" and scale:
            self._conv(wider, upsampled=True)
        elif kind == "transposed" and scale:
            self._conv(wider, kernel=4, stride=2, transposed=True)
        elif kind == "add":
            before = self._x
            self._conv(channels)
            a, b = self._rng.permutation([before, self._x]).tolist()
            self._put(Add(out=self._name("add"), a=a, b=b), channels, scale)
        elif kind == "map":
            name = f"map{len(self._inputs)}"
            self._inputs[name] = self._dims("slices", channels, scale)
            self._put(AddMap(out=self._name("map"), x=self._x, map=name), channels, scale)
        elif kind == "bias":
            name = f"film{len(self._inputs)}"
            self._inputs[name] = (1, channels + 3)
            outs = (f"{name}.0", f"{name}.1")
            self._steps.append(Split(outs=outs, x=name, sizes=(3, channels)))
            self._put(AddBias(out=self._name("bias"), x=self._x, bias=outs[1]), channels, scale)
        elif kind == "dose":
            self._dose(channels, scale)
        elif kind == "concat":
            same = [name for name, image in self._images.items() if image[1] == scale]
            parts = (self._x, *self._rng.choice(same, 2).tolist())
            total = sum(self._images[part][0] for part in parts)
            self._put(Concat(out=self._name("concat"), parts=parts), total, scale)
        elif kind == "attend":
            # What attention averages is nearly constant: a norm of it alone would show round-off.
            before = self._x
            self._conv(3 * channels, kernel=1, norm=self._norm(silu=False))
            mixed = Attend(out=self._name("attend"), qkv=self._x, scale=0.5)
            self._put(mixed, channels, scale)
            self._put(Add(out=self._name("sum"), a=before, b=mixed.out), channels, scale)

    def _dose(self, channels: int, scale: int) -> None:
        name = self._name("dose")
        if "dose" not in self._inputs:
            self._inputs["dose"] = ("images",)
            self._steps.append(Level(out="level", x="dose", scale=0.25))
        weight, bias = (self._array(f"{name}.{part}", channels) for part in ("weight", "bias"))
        self._steps.append(Linear(out=name, x="level", weight=weight, bias=bias))
        self._put(AddBias(out=self._name("dosed"), x=self._x, bias=name), channels, scale)

    def network(self) -> Network:
        self._conv(1, out="eps")
        outputs = {"eps": self._dims("images", 1, self._images["eps"][1])}
        return Network("random", self._inputs, outputs, tuple(self._steps), self._weights)


@st.composite
def networks(draw: st.DrawFn, halves: bool | None = None) -> Network:
    """A network of up to ten kinds of steps in any order; weights as float16 or not."""
    stored = draw(st.booleans()) if halves is None else halves
    growing = Growing(draw(st.integers(0, 2**32)), stored)
    for kind in draw(st.lists(st.sampled_from(KINDS), max_size=10)):
        growing.add(kind)
    return growing.network()
