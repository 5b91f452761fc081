"""Counts the work of a bundle's networks, folded as they run, without torch."""

from __future__ import annotations

from petrt.flops.network import Work, count_network
from petrt.model.bundle import Bundle


def bundle_macs(
    bundle: Bundle, height: int, width: int, *, slices: int = 1, samples: int = 1
) -> dict[str, Work]:
    """Name -> work of one call of each network for ``slices`` slices of height x width.

    A call of the denoiser is one step on ``slices * samples`` images. Raises InputError if a size does
    not fit the networks.
    """
    dimensions = {"height": height, "width": width, "slices": slices, "images": slices * samples}
    return {graph: count_network(bundle.network(graph), dimensions) for graph in bundle.graphs}


def noise_bias_parameters(bundle: Bundle) -> int:
    """Number of parameters of the noise-bias table, without its fixed frequencies."""
    return sum(w.size for name, w in bundle.noise_bias_weights().items() if name != "frequencies")
