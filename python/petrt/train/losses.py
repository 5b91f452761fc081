"""The terms of the training objective, one short function each, with the paper's equation numbers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from petrt.schedule import linear_beta_gammas, log_snr


def distance(kind: str, a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute (``l1``) or squared (``l2``) difference."""
    return F.l1_loss(a, b) if kind == "l1" else F.mse_loss(a, b)


def guidance_loss(predictions: list[Tensor], target: Tensor) -> Tensor:
    """L_G of one guide (Eq. 5): sum over scales k of |C(F(x_aux^k)) - y_aux^k|, mean over voxels.

    ``y_aux^k`` is the standard-dose guide under a fixed average pooling by 2^k. Pooling it with the
    extractor's own trainable downsampler, as the authors' code does, lets the target collapse.
    ``predictions``: one map [B, C, H/2^k, W/2^k] per k = 1, 2, ...; ``target`` [B, C, H, W].
    """
    losses = [
        F.l1_loss(prediction, F.avg_pool2d(target, 2**k))
        for k, prediction in enumerate(predictions, start=1)
    ]
    return torch.stack(losses).sum()


def noisy_residual(r0: Tensor, gamma: Tensor, noise: Tensor) -> Tensor:
    """r_t = sqrt(gamma) r_0 + sqrt(1 - gamma) eps (Eq. 2); ``gamma`` [B]."""
    gamma = gamma.view(-1, 1, 1, 1)
    return gamma.sqrt() * r0 + (1 - gamma).sqrt() * noise


def wavegrad_gamma(count: int, generator: torch.Generator) -> Tensor:
    """p_gamma of Eq. 3: a step of the linear 2000-step schedule, then sqrt(gamma) uniform between
    its neighbours (WaveGrad). [count]"""
    roots = torch.from_numpy(linear_beta_gammas(1e-6, 1e-2, 2000)).sqrt()
    step = torch.randint(1, 2001, (count,), generator=generator)
    u = torch.rand(count, generator=generator, dtype=torch.float64)
    root = roots[step] + (roots[step - 1] - roots[step]) * u
    return (root**2).float()


def log_snr_gamma(
    count: int, gamma_min: float, gamma_max: float, generator: torch.Generator
) -> Tensor:
    """gamma with log-SNR uniform between that of gamma_min and gamma_max: [count].

    Trains where samplers go; the linear training schedule spends 44 % of its draws beyond the paper's.
    """
    low, high = log_snr(np.array([gamma_min, gamma_max]))
    u = torch.rand(count, generator=generator, dtype=torch.float64)
    return torch.sigmoid(low + (high - low) * u).float()
