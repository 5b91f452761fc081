"""What the networks of a bundle cost: folded, as they run. No torch."""

from __future__ import annotations

from petrt.flops.network import Work, count_network
from petrt.model.bundle import Bundle


def bundle_macs(
    bundle: Bundle, height: int, width: int, *, slices: int = 1, samples: int = 1
) -> dict[str, Work]:
    """Work of one call of each part for ``slices`` slices of height x width, by name, in their order.

    The denoiser's call is one step on ``slices * samples`` images. Raises InputError where a size does
    not fit the networks.
    """
    dimensions = {"height": height, "width": width, "slices": slices, "images": slices * samples}
    return {graph: count_network(bundle.network(graph), dimensions) for graph in bundle.graphs}


def noise_bias_parameters(bundle: Bundle) -> int:
    """Parameters behind the noise-bias table; its frequencies are fixed."""
    return sum(w.size for name, w in bundle.noise_bias_weights().items() if name != "frequencies")
