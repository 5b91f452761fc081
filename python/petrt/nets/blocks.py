"""The parts of both U-Nets and of the guidance extractors (method.md section 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petrt.model.group_norm import group_norm_by_channel


class GroupNorm(nn.GroupNorm):
    """PyTorch's GroupNorm: the same parameters and, on a CPU, the same bits.

    On a GPU the statistics are computed per channel (petrt.model.group_norm), in float32 or float64. Under
    autocast the result is float32, as PyTorch's.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        if not x.is_cuda or self.num_groups == self.num_channels:
            return super().forward(x)
        wide = x if x.dtype == torch.float64 else x.float()
        normed = group_norm_by_channel(wide, self.num_groups, self.weight, self.bias, self.eps)
        return normed if torch.is_autocast_enabled(x.device.type) else normed.to(x.dtype)


def conv3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps H and W, or halves them with ``stride`` 2."""
    return nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1)


class Down(nn.Module):
    """Stride-2 3x3 convolution: [B, C, H, W] -> [B, C, H/2, W/2]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv3(width, width, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Up(nn.Module):
    """Nearest x2, then a 3x3 convolution: [B, C, H, W] -> [B, C, 2H, 2W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Attention(nn.Module):
    """Single-head self-attention over all H*W positions, added to its input; scale 1/sqrt(C)."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        query, key, value = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)  # each [B, C, H*W]
        weight = (query.transpose(1, 2) @ key / math.sqrt(x.shape[1])).softmax(dim=-1)
        mixed = value @ weight.transpose(1, 2)
        return x + self.out(mixed.reshape(x.shape))


class NoiseEncoding(nn.Module):
    """Level -> sin, cos of ``level * exp(-ln(1e4) k / pairs)``, k = 0 .. pairs - 1 (WaveGrad)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = width // 2

    def frequencies(self, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
        """[pairs], computed in float64 and rounded once."""
        k = torch.arange(self.pairs, dtype=torch.float64, device=device)
        return torch.exp(-math.log(1e4) * k / self.pairs).to(dtype)

    def forward(self, level: Tensor) -> Tensor:
        """[B] -> [B, width]."""
        angle = level[:, None] * self.frequencies(level.dtype, level.device)
        return torch.cat([angle.sin(), angle.cos()], dim=1)


def noise_mlp(width: int) -> nn.Sequential:
    """Level [B] -> noise embedding [B, width]: encoding, Linear x4, SiLU, Linear."""
    return nn.Sequential(
        NoiseEncoding(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
    )


class Block(nn.Module):
    """Residual block: GroupNorm, SiLU, 3x3 conv, twice; a 1x1 shortcut where widths differ.

    ``noise`` is the width of the noise embedding. A linear map of it is added to the first conv's output.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        groups: int,
        *,
        noise: int | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, c_in)
        self.conv1 = conv3(c_in, c_out)
        self.noise = nn.Linear(noise, c_out) if noise is not None else None
        self.norm2 = GroupNorm(groups, c_out)
        self.conv2 = conv3(c_out, c_out)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.attention = Attention(c_out, groups) if attention else nn.Identity()

    def first(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """First half, with the noise bias: [B, c_in, H, W] -> [B, c_out, H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.noise is not None:
            h = h + self.noise(embedding)[:, :, None, None]
        return h

    def second(self, h: Tensor) -> Tensor:
        """Second half: [B, c_out, H, W] -> the same shape."""
        return self.conv2(F.silu(self.norm2(h)))

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """x [B, c_in, H, W], embedding [B, noise] or None -> [B, c_out, H, W]."""
        return self.attention(self.second(self.first(x, embedding)) + self.shortcut(x))


class GuidedBlock(Block):
    """Residual block that adds the guides' features before each half.

    The guides share ``guide1`` and ``guide2``; ``mix1`` and ``mix2`` take ``cat[x, guide(a), guide(f)]``.
    It uses the features at H/2^k with k = ``scale``.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        groups: int,
        *,
        scale: int,
        guides: int,
        guide_width: int,
        noise: int | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__(c_in, c_out, groups, noise=noise, attention=attention)
        self.scale = scale
        self.guide1 = nn.Conv2d(guide_width, c_in, 1)
        self.guide2 = nn.Conv2d(guide_width, c_out, 1)
        self.mix1 = nn.Conv2d((1 + guides) * c_in, c_in, 1)
        self.mix2 = nn.Conv2d((1 + guides) * c_out, c_out, 1)

    def forward(  # type: ignore[override]
        self, x: Tensor, embedding: Tensor | None, guides: Sequence[Tensor]
    ) -> Tensor:
        """x [B, c_in, H, W], embedding [B, noise] or None, each guide [B, guide_width, H, W]."""
        h = self.mix1(torch.cat([x, *(self.guide1(g) for g in guides)], dim=1))
        h = self.first(h, embedding)
        h = self.mix2(torch.cat([h, *(self.guide2(g) for g in guides)], dim=1))
        return self.attention(self.second(h) + self.shortcut(x))


class Head(nn.Module):
    """The last layers of a U-Net: GroupNorm, SiLU, 3x3 conv."""

    def __init__(self, c_in: int, c_out: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, c_in)
        self.conv = conv3(c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.silu(self.norm(x)))
