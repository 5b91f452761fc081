"""The guidance network: feature extractors for neighbouring slices and spectrum (Eq. 5)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from petrt.model.spec import GuidanceSpec
from petrt.nets.blocks import Block, Down, conv3
from petrt.nets.unet import Features

# Dose levels run from -1 at a hundredth of the full dose to 0 at the full dose.
DECADES = 2.0


def dose_level(fraction: Tensor) -> Tensor:
    """The dose level log10(fraction) / 2, an input of the extractors; ``fraction``: of the full dose."""
    return fraction.log10() / DECADES


class Extractor(nn.Module):
    """One guide at one scale k: [B, channels, H, W] -> features [B, widths[-1], H/2^k, W/2^k].

    ``head``, used only in training, predicts the same-scale standard-dose guide from the features.
    ``dose`` maps the dose level to a bias on the stem's output. It starts at zero, so that the weights
    of an extractor without it give the same features.
    """

    def __init__(self, spec: GuidanceSpec, channels: int, scale: int, dose: bool = False) -> None:
        super().__init__()
        self.downs = nn.Sequential(*(Down(channels) for _ in range(scale)))
        self.stem = conv3(channels, spec.stem)
        self.dose = nn.Linear(1, spec.stem) if dose else None
        if self.dose is not None:
            nn.init.zeros_(self.dose.weight)
            nn.init.zeros_(self.dose.bias)
        widths = (spec.stem, *spec.widths)
        self.blocks = nn.Sequential(
            *(Block(a, b, spec.norm_groups) for a, b in zip(widths, spec.widths, strict=False))
        )
        self.head = conv3(widths[-1], channels)

    def forward(self, guide: Tensor, level: Tensor | None = None) -> Tensor:
        """guide [B, channels, H, W]; level [B] (``dose_level``), only with a ``dose``."""
        h = self.stem(self.downs(guide))
        if self.dose is not None and level is not None:
            h = h + self.dose(level[:, None])[:, :, None, None]
        return self.blocks(h)


class Guidance(nn.Module):
    """The extractors of every guide at scales k = 1 .. ``scales``, with separate weights."""

    def __init__(self, spec: GuidanceSpec, guides: int, scales: int, dose: bool = False) -> None:
        super().__init__()
        neighbours = len(spec.neighbours)
        self.dose = dose
        self.nas = nn.ModuleList(Extractor(spec, neighbours, k + 1, dose) for k in range(scales))
        self.spectrum = nn.ModuleList(
            Extractor(spec, 1, k + 1, dose) for k in range(scales if guides == 2 else 0)
        )

    def forward(
        self, nas: Tensor, spectrum: Tensor | None = None, dose: Tensor | None = None
    ) -> list[list[Tensor]]:
        """nas [B, neighbours, H, W], spectrum [B, 1, H, W] -> features[k - 1] = [NAS, spectrum].

        ``dose`` [B]: fraction of the full dose, in (0, 1]. Raises ValueError if the spectrum or the dose
        is missing, or given to a network without that input.
        """
        takes = {"spectrum": bool(self.spectrum), "dose": self.dose}
        for name, given in (("spectrum", spectrum), ("dose", dose)):
            wanted, got = takes[name], given is not None
            if wanted != got:
                raise ValueError(f"this network takes a {name}: {wanted}; one was given: {got}")
        level = None if dose is None else dose_level(dose)
        features = [[extractor(nas, level)] for extractor in self.nas]
        for at_scale, extractor in zip(features, self.spectrum, strict=False):
            at_scale.append(extractor(spectrum, level))
        return features

    def predict(self, features: Features) -> list[list[Tensor]]:
        """The standard-dose guides predicted by Eq. 5's heads, nested as ``features``."""
        guides = (self.nas, self.spectrum) if self.spectrum else (self.nas,)
        return [
            [cast(Extractor, e).head(f) for e, f in zip(at_scale, maps, strict=True)]
            for at_scale, maps in zip(zip(*guides, strict=True), features, strict=True)
        ]
