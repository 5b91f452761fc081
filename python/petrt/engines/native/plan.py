"""Steps of a graph at one size: where every tensor lies in one block of memory, and the program.

A tensor lives from the step that writes it to the last one that reads it; others then take its place.
What is concatenated is written into its part of the whole from the start, so that concatenation is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petrt._core import NativeProgram
from petrt.engines.native.steps import (
    Add,
    Attend,
    Concat,
    Conv,
    DoseRow,
    Norm,
    Ref,
    Row,
    Step,
    Upsampled,
    inputs_of,
)

Array = NDArray[np.float32]
Shape = tuple[int, int, int, int]  # images, height, width, channels

ALIGNMENT = 16  # floats of a cache line


@dataclass(frozen=True)
class Weights:
    """A convolution's weights in the kernels' own order."""

    packed: Array
    bias: Array | None
    winograd: bool


@dataclass
class _Room:
    """Memory of one tensor, or of all that are concatenated: its size and the steps it lives through."""

    floats: int
    first: int
    last: int
    offset: int = -1


def aligned_empty(floats: int) -> Array:
    """An uninitialised vector that starts at a cache line."""
    raw = np.empty(floats + ALIGNMENT, np.float32)
    start = -(raw.ctypes.data // 4) % ALIGNMENT
    return raw[start : start + floats]


def shapes_of(steps: Sequence[Step], inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shape of every tensor, from those of the graph's inputs."""
    shapes = dict(inputs)
    for step in steps:
        n, h, w, c = shapes[inputs_of(step)[0].name]
        if isinstance(step, Conv):
            double = 2 if isinstance(step.x, Upsampled) else 1
            h, w = ((size * double - 1) // step.stride + 1 for size in (h, w))
            c = len(step.weight)
        elif isinstance(step, Concat):
            c = sum(shapes[part.name][3] for part in step.parts)
        elif isinstance(step, Attend):
            c //= 3
        shapes[step.out] = (n, h, w, c)
    return shapes


class Plan:
    """Views of every tensor of ``steps`` as [images, height, width, channels].

    ``bound``: views of the graph's inputs and outputs. ``memory``: the block, kept by the views.
    """

    def __init__(self, steps: Sequence[Step], bound: Mapping[str, Array], given: set[str]) -> None:
        self._steps = steps
        self.shapes = shapes_of(steps, {name: _shape(bound[name]) for name in given})
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
        """Whether ``part`` is written straight into ``whole``."""
        return self._homes.get(part, ("", 0))[0] == whole

    def _concatenated(self) -> dict[str, tuple[str, int]]:
        """part -> (whole, its first channel there), for what can be written there from the start."""
        wholes = {step.out for step in self._steps if isinstance(step, Concat)}
        homes: dict[str, tuple[str, int]] = {}
        for step in self._steps:
            first = 0
            for part in step.parts if isinstance(step, Concat) else ():
                if part.name not in {*self.views, *homes, *wholes}:
                    homes[part.name] = (step.out, first)
                first += self.shapes[part.name][3]
        return homes

    def _rooms(self) -> dict[str, _Room]:
        rooms: dict[str, _Room] = {}
        for index, step in enumerate(self._steps):
            for name in (step.out, *(ref.name for ref in inputs_of(step))):
                home = self._homes.get(name, (name, 0))[0]
                if home in self.views:
                    continue
                floats = int(np.prod(self.shapes[home]))
                room = rooms.setdefault(home, _Room(floats, index, index))
                room.last = index
        return rooms


def _shape(view: Array) -> Shape:
    n, h, w, c = view.shape
    return n, h, w, c


def _place(rooms: Sequence[_Room]) -> int:
    """Give every room an offset; those that live at the same time do not overlap. Largest first, each
    as low as it fits. The floats in all."""
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
    steps: Sequence[Step],
    weights: Sequence[Weights | None],
    plan: Plan,
    vectors: Mapping[str, Array],
    kernels: str | None = None,
) -> NativeProgram:
    """The program that runs ``steps`` on the tensors of ``plan``.

    ``weights``: of each step. ``vectors``: the graph's inputs that are no images, film [1, C] and
    dose [images].
    """
    program = NativeProgram(kernels)
    for step, own in zip(steps, weights, strict=True):
        if isinstance(step, Conv):
            assert own is not None
            _add_conv(program, step, own, plan, vectors)
        elif isinstance(step, Attend):
            program.attention(plan.views[step.qkv.name], plan.views[step.out], step.scale)
        elif isinstance(step, Concat):
            _add_concat(program, step, plan)
        else:
            _add_sum(program, step, plan, vectors)
    return program


def _add_conv(
    program: NativeProgram, step: Conv, own: Weights, plan: Plan, vectors: Mapping[str, Array]
) -> None:
    norm, silu = None, False
    source = step.x if isinstance(step.x, Ref) else step.x.x
    x = plan.views[source.name]
    if isinstance(step.x, Norm):
        scale, shift = (np.empty((x.shape[0], x.shape[3]), np.float32) for _ in range(2))
        norm, silu = (scale, shift), step.x.silu
        program.statistics(
            x, step.x.weight, step.x.bias, step.x.groups, step.x.epsilon, scale, shift
        )
    program.conv(
        x,
        plan.views[step.out],
        own.packed,
        kernel=step.kernel,
        stride=step.stride,
        winograd=own.winograd,
        bias=own.bias,
        norm=norm,
        silu=silu,
        upsample=isinstance(step.x, Upsampled),
        row=_row(program, step.row, vectors),
        addends=[plan.views[ref.name] for ref in step.addends],
    )


def _row(
    program: NativeProgram, row: Row | DoseRow | None, vectors: Mapping[str, Array]
) -> Array | None:
    """The biases as an array that the step reads when it runs."""
    if row is None:
        return None
    if isinstance(row, Row):
        return vectors[row.name][:, row.first : row.last]
    made = np.empty((len(vectors[row.dose]), len(row.weight)), np.float32)
    program.dose_row(vectors[row.dose], row.scale, row.weight, row.bias, made)
    return made


def _add_concat(program: NativeProgram, step: Concat, plan: Plan) -> None:
    """Copies of the parts that could not be written in place."""
    first = 0
    for part in step.parts:
        last = first + plan.shapes[part.name][3]
        if not plan.in_place(part.name, step.out):
            program.copy(plan.views[part.name], plan.views[step.out][..., first:last])
        first = last


def _add_sum(program: NativeProgram, step: Add, plan: Plan, vectors: Mapping[str, Array]) -> None:
    """An addition that no convolution could take along."""
    x, out = plan.views[step.a.name], plan.views[step.out]
    if isinstance(step.b, Ref):
        program.sum(x, plan.views[step.b.name], out)
        return
    row = _row(program, step.b, vectors)
    assert row is not None
    program.sum(x, np.broadcast_to(row[:, None, None, :], (len(row), *out.shape[1:])), out)
