"""The memory plan and the program of a network for one size.

A tensor needs memory from the step that writes it to the last step that reads it; then others use the
memory. The parts of a concatenation are written into the whole, so that most concatenations cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from petrt._core import NativeProgram
from petrt.arrays import Array
from petrt.engines.native.steps import DoseRow, FusedConv, NativeStep, Row, Sum, images_of
from petrt.model.network import Network
from petrt.model.steps import Attend, Concat

Shape = tuple[int, int, int, int]  # images, height, width, channels

ALIGNMENT = 16  # floats in a cache line


@dataclass(frozen=True)
class Weights:
    """A convolution's weights in the kernels' own order."""

    packed: Array
    bias: Array | None
    kernel: int
    winograd: bool


@dataclass
class _Room:
    """Memory of one tensor or of all parts of a concatenation, and the first and last step that use it."""

    floats: int
    first: int
    last: int
    offset: int = -1


def aligned_empty(floats: int) -> Array:
    """An uninitialised vector [floats] that starts at a cache line."""
    raw = np.empty(floats + ALIGNMENT, np.float32)
    start = -(raw.ctypes.data // 4) % ALIGNMENT
    return raw[start : start + floats]


class MemoryPlan:
    """Views of every tensor of ``steps`` as [images, height, width, channels].

    ``bound``: views of the network's inputs and outputs. ``shapes``: shapes of all tensors. ``memory``:
    the block that holds all other tensors.
    """

    def __init__(
        self, steps: Sequence[NativeStep], bound: Mapping[str, Array], shapes: Mapping[str, Shape]
    ) -> None:
        self._steps, self.shapes = steps, shapes
        self.views = dict(bound)
        self._homes = self._concatenated()
        rooms = self._rooms()
        self.memory = aligned_empty(_place(list(rooms.values())))
        for name, room in rooms.items():
            n, h, w, c = self.shapes[name]
            flat = self.memory[room.offset : room.offset + n * h * w * c]
            self.views[name] = flat.reshape(n, h, w, c)
        for name, (home, first) in self._homes.items():
            self.views[name] = self.views[home][..., first : first + self.shapes[name][3]]

    def in_place(self, part: str, whole: str) -> bool:
        """Whether ``part`` is written directly into the concatenation ``whole``."""
        return self._homes.get(part, ("", 0))[0] == whole

    def _concatenated(self) -> dict[str, tuple[str, int]]:
        """Part -> (whole, its first channel there), for parts that can be written in place."""
        wholes = {step.out for step in self._steps if isinstance(step, Concat)}
        homes: dict[str, tuple[str, int]] = {}
        for step in self._steps:
            first = 0
            for part in step.parts if isinstance(step, Concat) else ():
                if part not in {*self.views, *homes, *wholes}:
                    homes[part] = (step.out, first)
                first += self.shapes[part][3]
        return homes

    def _rooms(self) -> dict[str, _Room]:
        rooms: dict[str, _Room] = {}
        for index, step in enumerate(self._steps):
            for name in (step.out, *images_of(step)):
                home = self._homes.get(name, (name, 0))[0]
                if home in self.views:
                    continue
                floats = int(np.prod(self.shapes[home]))
                room = rooms.setdefault(home, _Room(floats, index, index))
                room.last = index
        return rooms


def _place(rooms: Sequence[_Room]) -> int:
    """Give every room an offset such that rooms in use at the same time do not overlap.

    The largest come first, each at the lowest free offset. Returns the total number of floats."""
    placed: list[_Room] = []
    for room in sorted(rooms, key=lambda each: -each.floats):
        offset = 0
        for other in sorted(placed, key=lambda each: each.offset):
            together = other.first <= room.last and room.first <= other.last
            if together and offset + room.floats > other.offset:
                offset = max(offset, _rounded(other.offset + other.floats))
        room.offset = offset
        placed.append(room)
    return max((_rounded(room.offset + room.floats) for room in rooms), default=0)


def _rounded(floats: int) -> int:
    return -(-floats // ALIGNMENT) * ALIGNMENT


def make_program(
    network: Network,
    steps: Sequence[NativeStep],
    weights: Mapping[str, Weights],
    plan: MemoryPlan,
    vectors: Mapping[str, Array],
    kernels: str | None = None,
) -> NativeProgram:
    """The program that runs ``steps`` of ``network`` on the tensors of ``plan``.

    ``weights``: name of a convolution's weight -> packed weights. ``vectors``: the inputs that are not
    images, film [1, C] and dose [images].
    """
    program = NativeProgram(kernels)
    for step in steps:
        match step:
            case FusedConv():
                _add_conv(program, network, step, weights[step.conv.weight], plan, vectors)
            case Attend():
                program.attention(plan.views[step.qkv], plan.views[step.out], step.scale)
            case Concat():
                _add_concat(program, step, plan)
            case Sum():
                _add_sum(program, step, plan, vectors)
    return program


def _add_conv(
    program: NativeProgram,
    network: Network,
    step: FusedConv,
    own: Weights,
    plan: MemoryPlan,
    vectors: Mapping[str, Array],
) -> None:
    norm, conv = None, step.conv
    x = plan.views[conv.x]
    if conv.norm is not None:
        scale, shift = (np.empty((x.shape[0], x.shape[3]), np.float32) for _ in range(2))
        norm = (scale, shift)
        weight, bias = network.weight(conv.norm.weight), network.weight(conv.norm.bias)
        program.statistics(x, weight, bias, conv.norm.groups, conv.norm.epsilon, scale, shift)
    program.conv(
        x,
        plan.views[step.out],
        own.packed,
        kernel=own.kernel,
        stride=conv.stride,
        winograd=own.winograd,
        bias=own.bias,
        norm=norm,
        silu=conv.norm is not None and conv.norm.silu,
        upsample=conv.upsampled,
        row=_row(program, step.row, vectors),
        addends=[plan.views[name] for name in step.addends],
    )


def _row(
    program: NativeProgram, row: Row | DoseRow | None, vectors: Mapping[str, Array]
) -> Array | None:
    """The biases as a view of the input that the program reads at each run."""
    if row is None:
        return None
    if isinstance(row, Row):
        return vectors[row.name][:, row.first : row.last]
    made = np.empty((len(vectors[row.dose]), len(row.weight)), np.float32)
    program.dose_row(vectors[row.dose], row.scale, row.weight, row.bias, made)
    return made


def _add_concat(program: NativeProgram, step: Concat, plan: MemoryPlan) -> None:
    """Copy the parts that could not be written in place."""
    first = 0
    for part in step.parts:
        last = first + plan.shapes[part][3]
        if not plan.in_place(part, step.out):
            program.copy(plan.views[part], plan.views[step.out][..., first:last])
        first = last


def _add_sum(
    program: NativeProgram, step: Sum, plan: MemoryPlan, vectors: Mapping[str, Array]
) -> None:
    """Add an addition that could not be fused into a convolution."""
    x, out = plan.views[step.a], plan.views[step.out]
    if isinstance(step.b, str):
        program.sum(x, plan.views[step.b], out)
        return
    row = _row(program, step.b, vectors)
    assert row is not None
    program.sum(x, np.broadcast_to(row[:, None, None, :], (len(row), *out.shape[1:])), out)
