"""Counts parameters, MACs and bytes of one network at given sizes from its steps, without torch.

The convention is that of ``petrt.model.size``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from petrt.model.network import Network
from petrt.model.size import Count
from petrt.model.steps import Attend, Conv, Linear

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Work:
    """The work of one call of one network.

    The bytes are those that every engine must move at least once, all as float32, also for weights
    stored as float16.
    """

    count: Count
    weight_bytes: int
    input_bytes: int
    output_bytes: int

    @property
    def bytes(self) -> int:
        """All bytes that must be read or written."""
        return self.weight_bytes + self.input_bytes + self.output_bytes


def count_network(network: Network, dimensions: Mapping[str, int]) -> Work:
    """The work of one call of ``network`` with the named dimensions set to numbers.

    Raises InputError for a name without a number, and a number that is not the needed multiple.
    """
    interface = network.sized(dimensions)
    shapes = network.shapes({name: interface[name] for name in network.inputs})
    sizes = {name: math.prod(dims) for name, dims in shapes.items()}
    weights = {name: array.size for name, array in network.weights.items()}
    macs = attention = norms = 0
    for step in network.steps:
        match step:
            case Conv():
                row = weights[step.weight] // network.weights[step.weight].shape[0]
                # A transposed convolution multiplies every input value with its row of the weight.
                macs += (sizes[step.x] if step.transposed else sizes[step.out]) * row
                if step.norm is not None:
                    norms += weights[step.norm.weight] + weights[step.norm.bias]
            case Linear():
                macs += sizes[step.out]
            case Attend():
                area = math.prod(shapes[step.out][2:])
                attention += 2 * sizes[step.out] * area
    total = sum(weights.values())
    return Work(
        Count(total, norms, macs, attention),
        weight_bytes=FLOAT * total,
        input_bytes=FLOAT * sum(sizes[name] for name in network.inputs),
        output_bytes=FLOAT * sum(sizes[name] for name in network.outputs),
    )
