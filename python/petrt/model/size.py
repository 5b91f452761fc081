"""Size and work of networks as numbers, whoever counted them. Needs nothing but Python.

Convention: a multiply-accumulate (MAC) is one product added to a sum; FLOPs are 2 x MACs. Counted are
convolutions and linear layers; biases, norms and activations are free, and padding counts as if it
were data. The two matrix products of attention are counted apart. "BFLOPs" in the paper's Table 2 are
these MACs in G, without attention's; its parameters leave the GroupNorms out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """Size and work of one part for one slice, or of one call where the part runs once a step."""

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
        """MACs with attention's."""
        return self.macs + self.attention_macs

    @property
    def flops(self) -> int:
        """The other convention: two operations a MAC, attention's included."""
        return 2 * self.all_macs


@dataclass(frozen=True)
class ModelCount:
    """The parts: P once a slice, D once a step, the extractors once a slice.

    Unfolded, the extractors' parameters include their training-only heads, their MACs do not. Folded,
    ``noise_bias`` is what the table of noise biases is computed from, once a model.
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
        """How often each part runs for one slice: the denoiser once a step and sample."""
        return {"guidance": 1, "coarse": 1, "denoiser": steps * samples}

    def total(self, steps: int, samples: int = 1) -> Count:
        """One slice: ``samples`` of it, ``steps`` evaluations of D each."""
        parts, calls = self.parts, self.calls(steps, samples)
        return Count(
            parameters=sum(p.parameters for p in parts.values()) + self.noise_bias,
            norm_parameters=sum(p.norm_parameters for p in parts.values()),
            macs=sum(calls[name] * p.macs for name, p in parts.items()),
            attention_macs=sum(calls[name] * p.attention_macs for name, p in parts.items()),
        )
