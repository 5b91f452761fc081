"""What the networks of a bundle cost, from its ONNX graphs: folded, as they run. No torch."""

from __future__ import annotations

from petrt.flops.graph import Work, count_graph
from petrt.model.bundle import GRAPHS, Bundle


def bundle_macs(
    bundle: Bundle, height: int, width: int, *, slices: int = 1, samples: int = 1
) -> dict[str, Work]:
    """Work of one call of each part for ``slices`` slices of height x width, by name, in their order.

    The denoiser's call is one step on ``slices * samples`` images. Raises InputError where a size does
    not fit the networks and for graphs that cannot be counted, see ``petrt.flops.graph``.
    """
    dimensions = {"height": height, "width": width, "slices": slices, "images": slices * samples}
    graphs = {graph: bundle.onnx(graph) for graph in GRAPHS}
    return {
        graph: count_graph(data, dimensions, f"{bundle.source}: {graph}.onnx")
        for graph, data in graphs.items()
        if data is not None
    }


def noise_bias_parameters(bundle: Bundle) -> int:
    """Parameters behind the noise-bias table; its frequencies are fixed."""
    return sum(w.size for name, w in bundle.noise_bias_weights().items() if name != "frequencies")
