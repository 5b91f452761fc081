"""petrt's own CPU engine: exact float32, with far fewer multiplications.

Nearly all the work of the networks is 3x3 convolutions of stride 1. Winograd's tiles (csrc/cpu/native/
winograd.h) take 36 multiplications for 16 outputs where the definition takes 144, the norm and SiLU in
front of a convolution are applied as its input is read, and what is added behind it as its output is
written. Round-off differs from the definition's by about as much as between two libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt import _core
from petrt.engines.base import Buffers, Division, Engine, check_interface, checked
from petrt.engines.native.plan import MemoryPlan, Shape, Weights, aligned_empty, make_program
from petrt.engines.native.steps import FusedConv, NativeStep, Unsupported, native_steps
from petrt.errors import InputError, UsageError
from petrt.model.bundle import Bundle
from petrt.model.half_precision import WIDE_INTERFACE
from petrt.model.network import Network
from petrt.model.steps import Conv, Dims

# Below so many input channels a tile's transformations cost more than they save.
WINOGRAD_CHANNELS = 8

Tensors = dict[str, list[Any]]


def version(kernels: str | None = None) -> str:
    """petrt's own and the kernels', such as "0.1.0 avx2": results differ in round-off between them."""
    return f"{_core.__version__} {kernels or _core.native_kernels()}"


class NativeEngine(Engine):
    """One program per graph and size.

    Features, maps and x_half, which go from one network to the next, have their channels last
    (``tensors`` says so): [slices, height, width, channels]. Images are as everywhere [slices, C,
    height, width].

    Args:
        threads: that share the outputs of one call; results do not depend on their number.
        kernels: "avx512", "avx2" or "generic"; None for the best this CPU has. Results differ between
            them in round-off.

    Raises:
        native_steps.Unsupported (a DeviceError): a network that it has no kernels for.
        UsageError: another precision than fp32.
    """

    name = "native"
    device = "cpu"
    precision = "fp32"
    division: Division | None = "own"
    capturable = False
    survives_fork = True  # its threads live within a call
    stream = None

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: str | None = None,
        threads: int = 1,
        kernels: str | None = None,
    ) -> None:
        if precision not in (None, "fp32"):
            raise UsageError(
                f"petrt's own engine does not run {precision}", "choose --precision fp32"
            )
        self.version = version(kernels)
        self.threads, self._kernels = threads, kernels
        self._networks: dict[str, Network] = {}
        self._steps: dict[str, list[NativeStep]] = {}
        self._weights: dict[str, dict[str, Weights]] = {}
        for graph in bundle.graphs:
            self._open(graph, bundle)
        check_interface(self, bundle)

    def _open(self, graph: str, bundle: Bundle) -> None:
        try:
            network = bundle.network(graph)
        except InputError as error:  # another engine may run it
            raise Unsupported(error.message) from error
        steps = native_steps(network)
        convs = {step.conv.weight: step.conv for step in steps if isinstance(step, FusedConv)}
        with ThreadPoolExecutor() as pool:
            packed = pool.map(lambda conv: self._packed(network, conv), convs.values())
            self._weights[graph] = dict(zip(convs, packed, strict=True))
        # The packed ones are all that is needed: 100 MB less for the paper's networks.
        kept = {name: _hollow(w) if name in convs else w for name, w in network.weights.items()}
        self._networks[graph], self._steps[graph] = replace(network, weights=kept), steps

    def _packed(self, network: Network, conv: Conv) -> Weights:
        weight = network.weight(conv.weight)
        outputs, inputs, kernel, _ = weight.shape
        planar = conv.x in network.inputs and conv.x in WIDE_INTERFACE
        deep = inputs >= WINOGRAD_CHANNELS and not planar
        behind = conv.norm is not None or conv.upsampled
        winograd = kernel == 3 and conv.stride == 1 and (behind or deep)
        size = _core.native_packed(inputs, outputs, kernel, winograd, self._kernels)
        packed = aligned_empty(size)
        _core.native_pack(np.ascontiguousarray(weight), winograd, packed, self._kernels)
        bias = None if conv.bias is None else network.weight(conv.bias)
        return Weights(packed, bias, kernel, winograd)

    def with_threads(self, threads: int) -> NativeEngine:
        """The same engine, its weights shared, with ``threads`` in one call."""
        other = copy(self)
        other.threads = threads
        return other

    def tensors(self, graph: str) -> tuple[Tensors, Tensors]:
        network = self._networks[graph]
        return _tensors(network.inputs), _tensors(network.outputs)

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        buffers = checked(self, graph, inputs, outputs)
        vectors = {name: array for name, array in inputs.items() if array.ndim < 4}
        views = {name: _channels_last(name, a) for name, a in buffers.items() if a.ndim == 4}
        network, steps = self._networks[graph], self._steps[graph]
        given = {name: (views if name in views else vectors)[name].shape for name in inputs}
        shapes = _shapes(network, given)
        for name in outputs:
            if shapes[name] != views[name].shape:
                raise ValueError(f"{graph}: {name} must be of shape {shapes[name]}")
        plan = MemoryPlan(steps, views, shapes)
        weights = self._weights[graph]
        program = make_program(network, steps, weights, plan, vectors, self._kernels)
        return partial(program.run, self.threads)


def _hollow(weight: NDArray[Any]) -> NDArray[Any]:
    """A weight of the same shape that takes no memory."""
    return np.broadcast_to(np.float32(0), weight.shape)


def _channels_last(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    return array.transpose(0, 2, 3, 1) if name in WIDE_INTERFACE else array


def _shapes(network: Network, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, Shape]:
    """Shapes of all images, from those of the inputs; channels last, here and there."""
    first = {name: (s[0], s[3], s[1], s[2]) if len(s) == 4 else s for name, s in inputs.items()}
    every = network.shapes(first)
    return {n: (s[0], s[2], s[3], s[1]) for n, s in every.items() if len(s) == 4}


def _tensors(dims: Mapping[str, Dims]) -> Tensors:
    """name -> dimensions as the engine takes them."""
    return {
        name: [*each] if name in WIDE_INTERFACE else [each[0], *each[2:], each[1]]
        for name, each in dims.items()
    }
