"""The engine protocol: given named buffers, enqueue one forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from petrt.bundle import Bundle
from petrt.errors import InputError
from petrt.guides import OFFSETS

Buffers = Mapping[str, NDArray[Any]]


class Engine(Protocol):
    """Runs the graphs of one bundle on one device.

    Buffers stay where they are between calls: ``bind`` fixes the addresses once, and the function it
    returns runs one forward, reading the inputs and writing the outputs in place.
    """

    name: str
    device: str
    version: str

    def tensors(self, graph: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Inputs and outputs of ``graph``: name -> shape, with a string for a dynamic dimension."""
        ...

    def output_shapes(
        self, graph: str, inputs: Mapping[str, tuple[int, ...]]
    ) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for inputs of the given shapes."""
        ...

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        """Bind C-contiguous float32 buffers; names must be exactly the graph's."""
        ...


def is_feature(name: str) -> bool:
    """Guidance's outputs are features, for the coarse network, and maps, for the denoiser."""
    return name.startswith("features_")


def check_names(graph: str, kind: str, expected: set[str], found: set[str]) -> None:
    """Refuse a graph whose inputs or outputs are not the ones the runtime feeds or reads."""
    if expected != found:
        parts = []
        if expected - found:
            parts.append(f"lacks {', '.join(sorted(expected - found))}")
        if found - expected:
            parts.append(f"has unknown {', '.join(sorted(found - expected))}")
        raise InputError(
            f"{graph}.onnx: {kind} do not match: {'; '.join(parts)}", "export it again"
        )


def check_interface(engine: Engine, bundle: Bundle) -> None:
    """The chain guidance -> coarse -> denoiser must close: each input has a source (bundle format)."""
    network = bundle.model.network
    if network.guide_count and network.guidance.neighbours != OFFSETS:
        raise InputError(
            f"the model takes neighbouring slices {network.guidance.neighbours}, the runtime stacks {OFFSETS}"
        )
    guides = {1: {"nas"}, 2: {"nas", "spectrum"}}.get(network.guide_count, set())
    produced: set[str] = set()
    if bundle.onnx("guidance") is not None:
        inputs, outputs = engine.tensors("guidance")
        x = {"x"} if network.denoiser else set()
        check_names("guidance", "inputs", x | guides, set(inputs))
        produced = set(outputs)
    if network.coarse:
        inputs, outputs = engine.tensors("coarse")
        features = {name for name in produced if is_feature(name)}
        check_names("coarse", "inputs", {"x"} | features, set(inputs))
        check_names("coarse", "outputs", {"x_cp"}, set(outputs))
    if network.denoiser:
        inputs, outputs = engine.tensors("denoiser")
        maps = {name for name in produced if not is_feature(name)}
        check_names("denoiser", "inputs", {"r", "film"} | maps, set(inputs))
        check_names("denoiser", "outputs", {"eps"}, set(outputs))
