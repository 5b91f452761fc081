"""The method in plain NumPy: one slice and one sample at a time, nothing folded and nothing fused.

Every engine and every loop of petrt computes this function, only faster; tests compare them with it. The
numbers of equations are those of the paper (Han, Wang et al., MICCAI 2023); docs/method.md says more of
each part.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from petrt.arrays import Array64


class Networks(Protocol):
    """The three networks as the paper draws them. Images are [1, C, H, W].

    The paper's coarse network reads slice z alone, nas[:, 2:3]; a model's may read all of nas.
    """

    def guidance(self, nas: Array64, spectrum: Array64) -> Any: ...
    def coarse(self, nas: Array64, features: Any) -> Array64: ...
    def denoiser(self, x: Array64, r: Array64, level: float, features: Any) -> Array64: ...


def neighbours(volume: Array64, z: int) -> Array64:
    """Slices z-2 .. z+2 of ``volume`` [Z, H, W]: [1, 5, H, W]. Slice z stands for a missing one."""
    near = [z + d if 0 <= z + d < len(volume) else z for d in (-2, -1, 0, 1, 2)]
    return volume[None, near]


def spectrum(x: Array64) -> Array64:
    """The log magnitude spectrum of a slice [1, 1, H, W], scaled to [0, 1]. A flat one is zero."""
    transform = np.fft.fftshift(np.fft.fft2(x), axes=(-2, -1))
    log = 20 * np.log(np.abs(transform + 1e-8))
    extent = log.max() - log.min()
    return (log - log.min()) / extent if extent > 0 else np.zeros_like(log)


def sample(
    networks: Networks, x: Array64, features: Any, beta: Array64, noise: Array64, clip: float
) -> Array64:
    """One residual r_0 of slice ``x`` [1, 1, H, W] (Eq. 4): noise[0] is r_T, noise[i] is added by step i."""
    # gamma_t is the product of alpha_1 .. alpha_t, and alpha = 1 - beta.
    gamma = np.concatenate([[1.0], np.cumprod(1 - beta)])
    r = noise[0]
    for step, t in enumerate(range(len(beta), 0, -1), start=1):
        now, before, b = gamma[t], gamma[t - 1], beta[t - 1]
        eps = networks.denoiser(x, r, np.sqrt(now), features)
        r0 = np.clip((r - np.sqrt(1 - now) * eps) / np.sqrt(now), -clip, clip)  # Eq. 6
        # The posterior q(r_{t-1} | r_t, r_0) of the forward process (Eqs. 1 and 2).
        mean = (b * np.sqrt(before) * r0 + (1 - before) * np.sqrt(1 - b) * r) / (1 - now)
        r = mean + np.sqrt(b * (1 - before) / (1 - now)) * noise[step]  # no noise at t = 1
    return r


def reconstruct(
    volume: Array64,
    networks: Networks,
    beta: Array64,
    noise: Array64,
    *,
    sigma_r: float = 1.0,
    clip: float = 1.0,
) -> tuple[Array64, Array64, Array64]:
    """The mean of N samples (AMS), their standard deviation and the coarse prediction, each [Z, H, W].

    ``volume`` [Z, H, W] is scaled to [0, 1]; H and W are multiples of 8. ``beta`` [T] is the noise
    schedule, beta_1 first. ``noise`` [T + 1, N, Z, H, W] is standard normal. ``sigma_r`` is the number
    that divided residuals in training, ``clip`` the bound of a residual in units of ``sigma_r``.
    """
    images, coarse = np.empty(noise.shape[1:]), np.empty(volume.shape)
    for z in range(len(volume)):
        x = volume[None, None, z]
        nas = neighbours(volume, z)
        features = networks.guidance(nas, spectrum(x))
        x_cp = networks.coarse(nas, features)
        coarse[z] = x_cp[0, 0]
        for n in range(len(images)):
            r = sample(networks, x, features, beta, noise[:, n, z, None, None], clip)
            images[n, z] = np.maximum(x_cp + sigma_r * r, 0)[0, 0]
    std = images.std(axis=0, ddof=1) if len(images) > 1 else np.zeros_like(coarse)
    return images.mean(axis=0), std, coarse
