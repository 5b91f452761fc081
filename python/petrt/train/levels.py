"""Draws the noise levels for training: p_gamma of Eq. 3."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from petrt.diffusion.noise_schedule import gamma_of_log_snr, linear_beta_gammas, log_snr, step_table
from petrt.model.spec import SamplerSpec, ScheduleSpec
from petrt.train.config import TrainConfig

# The training schedule of the paper: linear beta, T = 2000.
BETAS = (1e-6, 1e-2, 2000)


def draw_gamma(rng: np.random.Generator, count: int, config: TrainConfig) -> NDArray[np.float32]:
    """Noise levels gamma [count] in (0, 1), drawn as ``config.loss.levels`` states."""
    loss, model = config.loss, config.model
    if loss.levels == "wavegrad":
        return _wavegrad(rng, count)
    if loss.levels == "sampler":
        return rng.choice(_sampler_gammas(model.schedule, model.sampler), count).astype(np.float32)
    return _log_snr(rng, count, loss.gamma_min, loss.gamma_max)


def training_time(gamma: NDArray[np.float32]) -> NDArray[np.float32]:
    """t / T in [0, 1] of the last step of the paper's training schedule with at least this gamma."""
    falling = linear_beta_gammas(*BETAS)
    steps = np.searchsorted(-falling, -gamma.astype(np.float64), side="right") - 1
    return (np.maximum(steps, 0) / BETAS[2]).astype(np.float32)


def _wavegrad(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """A step of the training schedule, then sqrt(gamma) uniform between its neighbours (WaveGrad)."""
    roots = np.sqrt(linear_beta_gammas(*BETAS))
    step = rng.integers(1, BETAS[2] + 1, count)
    root = roots[step] + (roots[step - 1] - roots[step]) * rng.random(count)
    return (root**2).astype(np.float32)


def _log_snr(
    rng: np.random.Generator, count: int, gamma_min: float, gamma_max: float
) -> NDArray[np.float32]:
    """log-SNR uniform between that of gamma_min and gamma_max, the range of the samplers.

    The paper's training schedule draws 44 % of its levels outside the range of its sampler.
    """
    low, high = log_snr(np.array([gamma_min, gamma_max]))
    return gamma_of_log_snr(rng.uniform(low, high, count)).astype(np.float32)


@cache
def _sampler_gammas(schedule: ScheduleSpec, sampler: SamplerSpec) -> NDArray[np.float64]:
    return step_table(schedule, sampler).levels ** 2
