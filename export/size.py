"""Counts parameters and MACs of the folded networks, as PyTorch modules and as steps without weights.

Both need only shapes, on the meta device. The convention is that of ``petrt.model.size``, without the
extractors' training-only heads, which are not exported.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

from petrt.export.folding.fold import Folded, FoldedPart, Upsample, fold, run_part
from petrt.export.graphs.networks import write_networks
from petrt.model.network import Network
from petrt.model.size import Count, ModelCount
from petrt.model.spec import NetworkSpec
from petrt.nets.count import MacCounter
from petrt.nets.guidance import Extractor
from petrt.nets.model import Model


@cache
def folded_count(
    spec: NetworkSpec, height: int = 128, width: int = 128, upsample: Upsample = "conv"
) -> ModelCount:
    """Counts of one call of each folded network of ``spec``, for a slice of ``height`` x ``width``."""
    folded = _hollow(spec, upsample)
    with torch.device("meta"), torch.no_grad():
        image = torch.empty(1, 1, height, width)
        nas = torch.empty(1, len(spec.guidance.neighbours), height, width)
        values = {"x": image, "r": image, "spectrum": image, "nas": nas, "dose": torch.empty(1)}
        if "film.bias" in folded.noise_bias:
            values["film"] = folded.noise_bias["film.bias"][None]
        counts = {}
        for name, part in folded.parts.items():
            with MacCounter(part) as call:
                values |= run_part(part, values)
            counts[name] = _count(part, call)
    return ModelCount(
        coarse=counts.get("coarse", Count()),
        denoiser=counts.get("denoiser", Count()),
        guidance=counts.get("guidance", Count()),
        noise_bias=sum(w.numel() for n, w in folded.noise_bias.items() if n != "frequencies"),
    )


def hollow_networks(spec: NetworkSpec, upsample: Upsample = "conv") -> dict[str, Network]:
    """The networks that an export of ``spec`` writes, with weights that use no memory."""
    return write_networks(_hollow(spec, upsample), spec, "fp32")


@cache
def _hollow(spec: NetworkSpec, upsample: Upsample) -> Folded:
    """Folded networks on the meta device, with shapes and without memory."""
    with torch.device("meta"), torch.no_grad():
        return fold(Model(spec).eval(), upsample)


def _count(part: FoldedPart, call: MacCounter) -> Count:
    heads = {id(p) for m in part.modules() if isinstance(m, Extractor) for p in m.head.parameters()}
    norms = (m for m in part.modules() if isinstance(m, nn.GroupNorm))
    return Count(
        parameters=sum(p.numel() for p in part.parameters() if id(p) not in heads),
        norm_parameters=sum(p.numel() for m in norms for p in m.parameters()),
        macs=call.macs,
        attention_macs=call.attention_macs,
    )
