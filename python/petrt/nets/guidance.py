"""The auxiliary guidance: feature extractors of neighbouring slices and spectrum (Eq. 5)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from petrt.nets.blocks import Block, Down, conv3
from petrt.nets.unet import Features
from petrt.spec import GuidanceSpec


class Extractor(nn.Module):
    """One guide at one scale k: [B, channels, H, W] -> features [B, widths[-1], H/2^k, W/2^k].

    ``head`` serves training only: it predicts the same-scale standard-dose guide from the features.
    """

    def __init__(self, spec: GuidanceSpec, channels: int, scale: int) -> None:
        super().__init__()
        self.downs = nn.Sequential(*(Down(channels) for _ in range(scale)))
        self.stem = conv3(channels, spec.stem)
        widths = (spec.stem, *spec.widths)
        self.blocks = nn.Sequential(
            *(Block(a, b, spec.norm_groups) for a, b in zip(widths, spec.widths, strict=False))
        )
        self.head = conv3(widths[-1], channels)

    def forward(self, guide: Tensor) -> Tensor:
        return self.blocks(self.stem(self.downs(guide)))


class Guidance(nn.Module):
    """Extractors of every guide at scales k = 1 .. ``scales``, separate weights."""

    def __init__(self, spec: GuidanceSpec, guides: int, scales: int) -> None:
        super().__init__()
        neighbours = len(spec.neighbours)
        self.nas = nn.ModuleList(Extractor(spec, neighbours, k + 1) for k in range(scales))
        self.spectrum = nn.ModuleList(
            Extractor(spec, 1, k + 1) for k in range(scales if guides == 2 else 0)
        )

    def forward(self, nas: Tensor, spectrum: Tensor | None = None) -> list[list[Tensor]]:
        """nas [B, neighbours, H, W], spectrum [B, 1, H, W] -> features[k - 1] = [NAS, spectrum].

        Raises ValueError where the spectrum is missing, or given to a network without that guide.
        """
        if (spectrum is not None) != bool(self.spectrum):
            wanted, got = bool(self.spectrum), spectrum is not None
            raise ValueError(f"this network takes a spectrum: {wanted}; one was given: {got}")
        features = [[extractor(nas)] for extractor in self.nas]
        for at_scale, extractor in zip(features, self.spectrum, strict=False):
            at_scale.append(extractor(spectrum))
        return features

    def predict(self, features: Features) -> list[list[Tensor]]:
        """Eq. 5 heads: standard-dose guides, nested as ``features``, with the guides' channels."""
        guides = (self.nas, self.spectrum) if self.spectrum else (self.nas,)
        return [
            [cast(Extractor, e).head(f) for e, f in zip(at_scale, maps, strict=True)]
            for at_scale, maps in zip(zip(*guides, strict=True), features, strict=True)
        ]
