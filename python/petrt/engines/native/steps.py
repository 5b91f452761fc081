"""Turns a network into steps of petrt's own CPU kernels: additions are fused into convolutions.

The kernels add biases, maps and shortcuts while they write a convolution's output, so these additions
need no pass over the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from petrt.arrays import Array
from petrt.errors import DeviceError
from petrt.model.network import Network
from petrt.model.steps import Add, AddBias, AddMap, Attend, Concat, Conv, Level, Linear, Split


class Unsupported(DeviceError):
    """A network with a step for which there is no kernel."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "use --engine onnxruntime")


@dataclass(frozen=True)
class Row:
    """Channels ``first`` to ``last`` of an input [1, C], added to all images: a block's noise bias."""

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class DoseRow:
    """Biases [images, C] computed from the dose: ln(dose) * scale * weight + bias."""

    dose: str
    scale: float
    weight: Array = field(compare=False, repr=False)
    bias: Array = field(compare=False, repr=False)


@dataclass(frozen=True)
class FusedConv:
    """``out`` = convolution + row + addends, which have as many images or one per slice."""

    out: str
    conv: Conv
    row: Row | DoseRow | None = None
    addends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sum:
    """``out`` = a + b, an addition not fused into a convolution; b: a row, or as many images or fewer."""

    out: str
    a: str
    b: str | Row | DoseRow


NativeStep = FusedConv | Sum | Concat | Attend


def images_of(step: NativeStep) -> list[str]:
    """The names of the images that a step reads."""
    match step:
        case FusedConv():
            return [step.conv.x, *step.addends]
        case Sum():
            return [step.a, step.b] if isinstance(step.b, str) else [step.a]
        case Concat():
            return list(step.parts)
        case Attend():
            return [step.qkv]


def native_steps(network: Network) -> list[NativeStep]:
    """The fused steps, in an order in which they can run. Raises Unsupported."""
    rows: dict[str, Row | DoseRow] = {}
    levels: dict[str, Level] = {}
    steps: list[NativeStep] = []
    for step in network.steps:
        match step:
            case Split() if step.x in network.inputs:
                ends = np.cumsum(step.sizes).tolist()
                starts = [0, *ends[:-1]]
                for out, start, end in zip(step.outs, starts, ends, strict=True):
                    rows[out] = Row(step.x, start, end)
            case Level():
                levels[step.out] = step
            case Linear():
                level = levels[step.x]
                weight, bias = network.weight(step.weight), network.weight(step.bias)
                rows[step.out] = DoseRow(level.x, level.scale, weight, bias)
            case Add():
                steps.append(Sum(step.out, step.a, step.b))
            case AddMap():
                steps.append(Sum(step.out, step.x, step.map))
            case AddBias():
                steps.append(Sum(step.out, step.x, _row(network, step, rows)))
            case Conv():
                _check(network, step)
                steps.append(FusedConv(step.out, step))
            case Concat() | Attend():
                steps.append(step)
            case _:
                raise Unsupported(
                    f"{network.name}: petrt's own engine does not support this {step.kind}"
                )
    return fused(steps, set(network.outputs))


def _row(network: Network, step: AddBias, rows: Mapping[str, Row | DoseRow]) -> Row | DoseRow:
    """The biases that the step adds; an input that is added as a whole is not in ``rows``."""
    width = network.dims[step.out][1]
    assert isinstance(width, int)
    return rows.get(step.bias) or Row(step.bias, 0, width)


def _check(network: Network, step: Conv) -> None:
    """Raise Unsupported if there is no kernel for the convolution."""
    if step.transposed:
        raise Unsupported(
            f"{network.name}.onnx: petrt's own engine does not support ConvTranspose as in '{step.out}'"
        )
    if step.upsampled and network.weights[step.weight].shape[2] != 3:
        raise Unsupported(f"{network.name}: '{step.out}' upsamples without a 3x3 kernel")


def fused(steps: Sequence[NativeStep], outputs: set[str]) -> list[NativeStep]:
    """The steps with each addition fused into the convolution before it, which runs at its place."""
    uses = Counter(name for step in steps for name in images_of(step))
    uses.update(outputs)
    made: dict[str, NativeStep] = {}  # in order
    for step in steps:
        taken: NativeStep | None = None
        if isinstance(step, Sum):
            sides: list[tuple[str, str | Row | DoseRow]] = [(step.a, step.b)]
            if isinstance(step.b, str):
                sides.append((step.b, step.a))
            # Only the later of two convolutions can add the other's result.
            order = list(made)
            sides.sort(key=lambda side: order.index(side[0]) if side[0] in made else -1)
            for mine, other in reversed(sides):
                taken = _with(made.get(mine), step.out, other)
                if taken is not None and uses[mine] == 1:
                    del made[mine]
                    break
                taken = None
        made[step.out] = taken or step
    return list(made.values())


def _with(step: NativeStep | None, out: str, other: str | Row | DoseRow) -> FusedConv | None:
    """``step`` with ``other`` added to its result; None if it is not a convolution that can add it."""
    if not isinstance(step, FusedConv):
        return None
    if isinstance(other, str):
        room = len(step.addends) < 2
        return replace(step, out=out, addends=(*step.addends, other)) if room else None
    return replace(step, out=out, row=other) if step.row is None else None
