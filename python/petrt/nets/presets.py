"""Named network specifications: the paper's, its ablation rows (Table 2), and smaller ones."""

from __future__ import annotations

from petrt.model.spec import GuidanceSpec, NetworkSpec, UNetSpec

_P = UNetSpec(base=64)
_D = UNetSpec(base=32)
_SR3 = UNetSpec(base=64, multipliers=(1, 2, 4, 8, 8), attention_levels=(3,))


def _reduced(coarse: int, denoiser: int, blocks: int, groups: int) -> NetworkSpec:
    """The paper's layout with other base widths and fewer blocks per level."""
    return NetworkSpec(
        coarse=UNetSpec(base=coarse, blocks=blocks, norm_groups=groups),
        denoiser=UNetSpec(base=denoiser, blocks=blocks, norm_groups=groups),
    )


_PAPER = NetworkSpec(coarse=_P, denoiser=_D)

PRESETS: dict[str, NetworkSpec] = {
    "paper": _PAPER,
    # Table 2: (a) SR3, (b) P alone, (c) + D, (d) + NAS, (e) + spectrum, (f) + the contrastive loss.
    "a": NetworkSpec(guides="none", coarse=None, denoiser=_SR3),
    "b": NetworkSpec(guides="none", coarse=_P, denoiser=None),
    "c": NetworkSpec(guides="none", coarse=_P, denoiser=_D),
    "d": NetworkSpec(guides="nas", coarse=_P, denoiser=_D),
    "e": _PAPER,
    "f": _PAPER,
    # The same layout, for small data sets and CPUs.
    "small": _reduced(32, 16, blocks=2, groups=8),
    "mini": _reduced(16, 8, blocks=1, groups=4),
    # A few thousand parameters, three levels (H and W multiples of 4): for tests.
    "tiny": NetworkSpec(
        coarse=UNetSpec(base=4, multipliers=(1, 2, 2), blocks=1, norm_groups=2),
        denoiser=UNetSpec(base=4, multipliers=(1, 2, 2), blocks=1, norm_groups=2),
        guidance=GuidanceSpec(stem=4, widths=(4, 8), norm_groups=2),
    ),
}
