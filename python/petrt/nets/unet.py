"""The two U-Nets: coarse prediction P and denoiser D (method.md section 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from petrt.model.spec import UNetSpec
from petrt.nets.blocks import Block, Down, GuidedBlock, Head, Up, conv3, noise_mlp

Features = Sequence[Sequence[Tensor]]
"""For each scale k = 1, 2, ... one [B, width, H/2^k, W/2^k] per guide. Empty without guides."""


class UNet(nn.Module):
    """Encoder, middle and decoder over ``len(spec.multipliers)`` levels.

    With guides, the middle is guided, and so are the encoder blocks of all levels except the first and
    the deepest. ``downs`` starts with the input conv. All lists are in the order of computation.
    """

    def __init__(
        self,
        spec: UNetSpec,
        c_in: int,
        *,
        guides: int = 0,
        guide_width: int = 0,
        noise: bool = False,
    ) -> None:
        super().__init__()
        self.granule = 2 ** (len(spec.multipliers) - 1)
        self.noise_mlp = noise_mlp(spec.base) if noise else None
        groups, embedding = spec.norm_groups, spec.base if noise else None
        deepest = len(spec.multipliers) - 1

        def block(c_in: int, c_out: int, level: int, attention: bool, guided: bool) -> Block:
            if guided and guides:
                return GuidedBlock(
                    c_in,
                    c_out,
                    groups,
                    scale=level,
                    guides=guides,
                    guide_width=guide_width,
                    noise=embedding,
                    attention=attention,
                )
            return Block(c_in, c_out, groups, noise=embedding, attention=attention)

        width = spec.base
        downs: list[nn.Module] = [conv3(c_in, width)]
        skips = [width]
        for level, multiplier in enumerate(spec.multipliers):
            for _ in range(spec.blocks):
                c_out = spec.base * multiplier
                guided = 0 < level < deepest
                downs.append(block(width, c_out, level, level in spec.attention_levels, guided))
                width = c_out
                skips.append(width)
            if level < deepest:
                downs.append(Down(width))
                skips.append(width)
        self.downs = nn.ModuleList(downs)
        self.mid = nn.ModuleList(
            block(width, width, deepest, first, True) for first in (True, False)
        )
        ups: list[nn.Module] = []
        for level, multiplier in reversed(list(enumerate(spec.multipliers))):
            for _ in range(spec.blocks + 1):
                c_out, attention = spec.base * multiplier, level in spec.attention_levels
                ups.append(block(width + skips.pop(), c_out, level, attention, False))
                width = c_out
            if level > 0:
                ups.append(Up(width))
        self.ups = nn.ModuleList(ups)
        self.head = Head(width, 1, groups)

    def run(self, image: Tensor, features: Features, embedding: Tensor | None) -> Tensor:
        """image [B, c_in, H, W], features per scale, embedding [B, base] or None -> [B, 1, H, W].

        Raises ValueError unless H and W are multiples of ``granule``.
        """
        height, width = image.shape[-2:]
        if height % self.granule or width % self.granule:
            raise ValueError(f"H and W must be multiples of {self.granule}, got {height} x {width}")

        def apply(layer: nn.Module, x: Tensor) -> Tensor:
            if isinstance(layer, GuidedBlock):
                return layer(x, embedding, features[layer.scale - 1])
            return layer(x, embedding) if isinstance(layer, Block) else layer(x)

        x, skips = image, []
        for layer in self.downs:
            x = apply(layer, x)
            skips.append(x)
        for layer in self.mid:
            x = apply(layer, x)
        for layer in self.ups:
            x = (
                layer(x)
                if isinstance(layer, Up)
                else apply(layer, torch.cat([x, skips.pop()], dim=1))
            )
        return self.head(x)


class Coarse(UNet):
    """P: ``x_cp = P(x, guides)``; ``channels``: of x, 5 with the neighbouring slices."""

    def __init__(self, spec: UNetSpec, guides: int, guide_width: int, channels: int = 1) -> None:
        super().__init__(spec, channels, guides=guides, guide_width=guide_width)

    def forward(self, x: Tensor, features: Features = ()) -> Tensor:
        """x [B, channels, H, W] -> x_cp [B, 1, H, W]."""
        return self.run(x, features, None)


class Denoiser(UNet):
    """D: ``eps = D(cat[x, r_t], sqrt(gamma_t), guides)``."""

    def __init__(self, spec: UNetSpec, guides: int, guide_width: int) -> None:
        super().__init__(spec, 2, guides=guides, guide_width=guide_width, noise=True)
        # Start near eps = 0, the best prediction that ignores the input: training need not unlearn
        # the random output of an unscaled last conv. Small rather than zero, so that every layer
        # gets a gradient from the first step.
        with torch.no_grad():
            self.head.conv.weight.mul_(0.1)
            self.head.conv.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor, r: Tensor, level: Tensor, features: Features = ()) -> Tensor:
        """x, r [B, 1, H, W], level = sqrt(gamma) [B] -> eps [B, 1, H, W]."""
        assert self.noise_mlp is not None
        return self.run(torch.cat([x, r], dim=1), features, self.noise_mlp(level))


def named_blocks(unet: UNet) -> Iterator[tuple[str, Block]]:
    """(name, block) of all residual blocks, in the order of computation."""
    for part, layers in (("downs", unet.downs), ("mid", unet.mid), ("ups", unet.ups)):
        for i, layer in enumerate(layers):
            if isinstance(layer, Block):
                yield f"{part}.{i}", layer
