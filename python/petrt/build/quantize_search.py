"""Which layers stay in float32: those whose 8 bits cost the image most, found in few reconstructions.

The squared errors that layers cause in the image very nearly add up. So sets of layers are quantized
alone; the set that costs most is halved, and halved again, until the layer is found that does the
harm; it stays in float32. A few bad layers among n take about 2 log2(n) reconstructions each.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from petrt.build.quantize import Range, convolutions, quantize
from petrt.bundle import GRAPHS, Bundle

Layer = tuple[str, str]  # graph, name
# The squared error of the image, relative to its peak's, with these layers in 8 bit.
Error = Callable[[Sequence[Layer]], float]


class Search:
    """``kept``: what stays in float32 so far, worst first."""

    def __init__(self, sets: Sequence[Sequence[Layer]], error: Error) -> None:
        self._error = error
        self._heap: list[tuple[float, int, Sequence[Layer]]] = []
        self.kept: list[Layer] = []
        self.measured = 0
        for layers in sets:
            self._push(layers)

    @property
    def remaining(self) -> float:
        """The error expected of all layers that are still in 8 bit."""
        return -sum(error for error, _, _ in self._heap)

    @property
    def exhausted(self) -> bool:
        return not self._heap

    def relax(self, target: float, step: Callable[[int], None] = lambda measured: None) -> None:
        """Keep layers in float32 until ``remaining`` is ``target`` at most, one layer at least.

        ``step`` is called with the number of sets measured so far.
        """
        before = len(self.kept)
        while self._heap and (self.remaining > target or len(self.kept) == before):
            _, _, layers = heapq.heappop(self._heap)
            if len(layers) == 1:
                self.kept.append(layers[0])
                continue
            step(self.measured)
            middle = len(layers) // 2
            self._push(layers[:middle])
            self._push(layers[middle:])

    def _push(self, layers: Sequence[Layer]) -> None:
        if layers:
            self.measured += 1
            heapq.heappush(self._heap, (-self._error(layers), self.measured, layers))


def layers_of(bundle: Bundle) -> dict[str, list[Layer]]:
    """graph -> its layers that are worth quantizing, in their order."""
    found = {}
    for graph in GRAPHS:
        model = bundle.onnx(graph)
        if model is not None:
            found[graph] = [(graph, c.name) for c in convolutions(model, graph) if c.worth]
    return found


def quantize_all(
    bundle: Bundle,
    ranges: dict[str, dict[str, Range]],
    keep: Sequence[Layer],
    bits: int,
    results: bool,
) -> dict[str, bytes]:
    """Every graph of ``bundle`` in 8 bit but for the layers of ``keep``; see ``quantize``."""
    graphs = {}
    for graph in GRAPHS:
        model = bundle.onnx(graph)
        if model is not None:
            names = {name for where, name in keep if where == graph}
            graphs[graph] = quantize(
                model, graph, ranges[graph], keep=names, bits=bits, results=results
            )
    return graphs
