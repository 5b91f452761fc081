"""GroupNorm from per-channel statistics, for the torch engine and for training on a GPU.

On a GPU the memory order is channels-last, so a group is a few bytes of each pixel. A reduction over
groups reads whole cache lines once per group; a reduction per channel reads each of them once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# (x, groups, weight, bias, eps) -> GroupNorm of x, as torch.nn.functional.group_norm.
Norm = Callable[[Tensor, int, Tensor, Tensor, float], Tensor]


def group_norm_by_channel(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """GroupNorm of ``x`` [B, C, H, W], float32 or float64; ``weight`` and ``bias``: [C].

    The mean of a group is the mean of its channels' means. Its variance is the mean of their variances
    plus the variance of their means (population variances).
    """
    batch, channels = x.shape[:2]
    split = (batch, groups, channels // groups)
    var, mean = (each.reshape(split) for each in torch.var_mean(x, dim=(2, 3), correction=0))
    centre = mean.mean(2, keepdim=True)
    spread = var.mean(2, keepdim=True) + (mean - centre).square().mean(2, keepdim=True)
    scale = weight.reshape(split[1:]) * torch.rsqrt(spread + eps)
    centre, scale = (t.expand(split).reshape(batch, channels, 1, 1) for t in (centre, scale))
    return (x - centre) * scale + bias.reshape(channels, 1, 1)
