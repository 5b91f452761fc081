"""The whole model: guidance, coarse prediction and denoiser."""

from __future__ import annotations

from torch import Tensor, nn

from petrt.model.spec import NetworkSpec
from petrt.nets.guidance import Guidance
from petrt.nets.unet import Coarse, Denoiser, Features


class Model(nn.Module):
    """The networks of one ``NetworkSpec``; those that the specification leaves out are None.

    features = model.guidance(nas, spectrum, dose)    per scale, per guide; dose [B] iff spec.dose
    x_cp     = model.coarse_of(x, nas, features)      Eq. 3
    eps      = model.denoiser(x, r, level, features)  level = sqrt(gamma) [B]
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        guides, width = spec.guide_count, spec.guidance.widths[-1]
        self.guidance = Guidance(spec.guidance, guides, spec.scales, spec.dose) if guides else None
        channels = len(spec.guidance.neighbours) if spec.coarse_reads == "nas" else 1
        self.coarse = Coarse(spec.coarse, guides, width, channels) if spec.coarse else None
        self.denoiser = Denoiser(spec.denoiser, guides, width) if spec.denoiser else None

    def coarse_of(self, x: Tensor, nas: Tensor, features: Features) -> Tensor:
        """x_cp [B, 1, H, W] of slices x [B, 1, H, W] with neighbours nas [B, 5, H, W]."""
        assert self.coarse is not None
        return self.coarse(nas if self.spec.coarse_reads == "nas" else x, features)
