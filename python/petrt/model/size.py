"""Parameters and operations of networks as numbers.

A multiply-accumulate (MAC) is one product added to a sum; FLOPs are 2 x MACs. Convolutions and linear
layers are counted, with padding as if it were data; biases, norms and activations are not. The two matrix
products of attention are counted separately. "BFLOPs" in the paper's Table 2 are these MACs in units of
1e9 without attention; its parameters exclude the GroupNorms'.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """Parameters and operations of one network for one slice; of the denoiser, for one timestep."""

    parameters: int = 0
    norm_parameters: int = 0
    macs: int = 0
    attention_macs: int = 0

    @property
    def table_parameters(self) -> int:
        """Parameters as the paper's Table 2 counts them: without the GroupNorms'."""
        return self.parameters - self.norm_parameters

    @property
    def all_macs(self) -> int:
        """MACs including attention."""
        return self.macs + self.attention_macs

    @property
    def flops(self) -> int:
        """Two operations per MAC, including attention."""
        return 2 * self.all_macs


@dataclass(frozen=True)
class ModelCount:
    """The counts of a model's networks: P and the extractors for a slice, D for a timestep.

    Unfolded, the extractors' parameters include their training-only heads; their MACs do not. Folded,
    ``noise_bias`` is the number of weights that the noise-bias table is computed from.
    """

    coarse: Count
    denoiser: Count
    guidance: Count
    noise_bias: int = 0

    @property
    def parts(self) -> dict[str, Count]:
        """Name -> count, in the order of computation."""
        return {"guidance": self.guidance, "coarse": self.coarse, "denoiser": self.denoiser}

    def calls(self, steps: int, samples: int = 1) -> dict[str, int]:
        """How often each network runs for one slice: the denoiser once per step and sample."""
        return {"guidance": 1, "coarse": 1, "denoiser": steps * samples}

    def total(self, steps: int, samples: int = 1) -> Count:
        """The count for one slice with ``samples`` samples of ``steps`` steps."""
        parts, calls = self.parts, self.calls(steps, samples)
        return Count(
            parameters=sum(p.parameters for p in parts.values()) + self.noise_bias,
            norm_parameters=sum(p.norm_parameters for p in parts.values()),
            macs=sum(calls[name] * p.macs for name, p in parts.items()),
            attention_macs=sum(calls[name] * p.attention_macs for name, p in parts.items()),
        )
