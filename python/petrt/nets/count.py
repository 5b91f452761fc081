"""Counts parameters and multiply-accumulates (MACs) of networks, by forward hooks on the meta device.

The convention is that of ``petrt.model.size``.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from petrt.model.size import Count, ModelCount
from petrt.model.spec import NetworkSpec
from petrt.nets.blocks import Attention
from petrt.nets.guidance import Extractor
from petrt.nets.model import Model
from petrt.nets.unet import Features


class MacCounter:
    """Sums the MACs of all calls of ``module`` inside the context."""

    def __init__(self, module: nn.Module) -> None:
        self.macs = self.attention_macs = 0
        self._module = module
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> MacCounter:
        kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, Attention)
        for layer in self._module.modules():
            if isinstance(layer, kinds):
                self._handles.append(layer.register_forward_hook(self._hook))
        return self

    def __exit__(self, *exc: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, Attention):
            batch, channels, height, width = output.shape
            self.attention_macs += 2 * batch * channels * (height * width) ** 2
        elif isinstance(layer, nn.ConvTranspose2d):  # every input value meets its row of the weight
            self.macs += args[0].numel() * layer.weight[0].numel()
        else:  # every output value is one dot product with its row of the weight
            assert isinstance(layer.weight, Tensor)
            self.macs += output.numel() * layer.weight[0].numel()


def _count(part: nn.Module | None, call: MacCounter | None) -> Count:
    if part is None or call is None:
        return Count()
    norms = (m for m in part.modules() if isinstance(m, nn.GroupNorm))
    return Count(
        parameters=sum(p.numel() for p in part.parameters()),
        norm_parameters=sum(p.numel() for m in norms for p in m.parameters()),
        macs=call.macs,
        attention_macs=call.attention_macs,
    )


@cache
def count(spec: NetworkSpec, height: int = 128, width: int = 128) -> ModelCount:
    """Parameters and MACs of each network of ``spec`` for one slice of ``height`` x ``width``."""
    calls: dict[str, MacCounter] = {}
    with torch.device("meta"), torch.no_grad():
        model = Model(spec)
        x, level = torch.empty(1, 1, height, width), torch.empty(1)
        nas = torch.empty(1, len(spec.guidance.neighbours), height, width)
        features: Features = ()
        if model.guidance is not None:
            spectrum, dose = x if spec.guide_count == 2 else None, level if spec.dose else None
            with MacCounter(model.guidance) as calls["guidance"]:
                features = model.guidance(nas, spectrum, dose)
        if model.coarse is not None:
            with MacCounter(model.coarse) as calls["coarse"]:
                model.coarse_of(x, nas, features)
        if model.denoiser is not None:
            with MacCounter(model.denoiser) as calls["denoiser"]:
                model.denoiser(x, x, level, features)
    return ModelCount(
        coarse=_count(model.coarse, calls.get("coarse")),
        denoiser=_count(model.denoiser, calls.get("denoiser")),
        guidance=_count(model.guidance, calls.get("guidance")),
    )


@cache
def guidance_macs_as_trained(spec: NetworkSpec, height: int = 128, width: int = 128) -> int:
    """MACs of the extractors with Eq. 5's heads and the trainable downsampling of the standard-dose guide.

    The authors' code runs both also in inference.
    """
    with torch.device("meta"), torch.no_grad():
        guidance = Model(spec).guidance
        if guidance is None:
            return 0
        nas, spectrum = torch.empty(1, len(spec.guidance.neighbours), height, width), None
        targets = [(guidance.nas, nas)]
        if spec.guide_count == 2:
            spectrum = torch.empty(1, 1, height, width)
            targets.append((guidance.spectrum, spectrum))
        with MacCounter(guidance) as call:
            dose = torch.empty(1) if spec.dose else None
            guidance.predict(guidance(nas, spectrum, dose))
            for extractors, target in targets:
                for extractor in extractors:
                    assert isinstance(extractor, Extractor)
                    extractor.downs(target)
    return call.macs
