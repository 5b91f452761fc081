"""Noise schedules, and samplers as tables of per-step numbers, all in float64.

Every sampler is the same update with its own numbers (method.md section 3)::

    x0 = clamp(x0_r * r_t - x0_eps * eps, -clip, clip)            Eq. 6
    r  <- a * r_t + b * x0 + c * x0_previous + s * z,   z ~ N(0, I)

``x0_previous`` is the x0 of the previous step. Steps run from the noisiest, t = T, to t = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petrt.arrays import Array64
from petrt.errors import UsageError, called, way
from petrt.model.spec import SamplerSpec, ScheduleSpec

COLUMNS = ("x0_r", "x0_eps", "a", "b", "c", "s")


@dataclass(frozen=True)
class StepTable:
    """The numbers of one reverse process, in the order of the steps.

    ``levels`` [steps]: sqrt(gamma_t), the noise level that the denoiser takes.
    ``coefs`` [steps, 6]: the columns of ``COLUMNS``.
    """

    levels: Array64
    coefs: Array64

    @property
    def steps(self) -> int:
        return len(self.levels)


def linear_beta_gammas(beta_start: float, beta_end: float, timesteps: int) -> Array64:
    """gamma_0 = 1, gamma_t = prod_{i<=t} (1 - beta_i) for linear beta (Eq. 2): [timesteps + 1]."""
    betas = np.linspace(beta_start, beta_end, timesteps, dtype=np.float64)
    return np.concatenate([[1.0], np.cumprod(1.0 - betas)])


def log_snr(gamma: Array64) -> Array64:
    """lambda = ln(gamma / (1 - gamma)), the log signal-to-noise ratio."""
    return np.log(gamma) - np.log1p(-gamma)


def gamma_of_log_snr(value: Array64) -> Array64:
    """Inverse of ``log_snr``: the logistic function."""
    return 1.0 / (1.0 + np.exp(-value))


def gammas(schedule: ScheduleSpec, steps: int) -> Array64:
    """The noise schedule with ``steps`` steps: [steps + 1] from gamma_0 = 1 to gamma_T, decreasing.

    ``linear-beta`` with its own number of timesteps is the schedule itself; with another number, the
    steps are evenly spaced in the schedule's time. ``log-snr`` steps are evenly spaced in log-SNR. Both
    span the schedule from end to end; a single step is the noisy end.
    """
    if steps < 1:
        raise UsageError(f"a sampler needs at least 1 step, got {steps}")
    if schedule.kind == "log-snr":
        if schedule.gamma_min >= schedule.gamma_max:
            raise UsageError("log-snr schedule needs gamma_min < gamma_max")
        ends = log_snr(np.array([schedule.gamma_max, schedule.gamma_min]))
        positions = np.linspace(0.0, 1.0, steps) if steps > 1 else np.array([1.0])
        inner = gamma_of_log_snr(ends[0] + (ends[1] - ends[0]) * positions)
        return np.concatenate([[1.0], inner])
    own = linear_beta_gammas(schedule.beta_start, schedule.beta_end, schedule.timesteps)
    if steps == schedule.timesteps:
        return own
    times = np.arange(1, schedule.timesteps + 1, dtype=np.float64)
    positions = np.linspace(1.0, schedule.timesteps, steps) if steps > 1 else times[-1:]
    inner = gamma_of_log_snr(np.interp(positions, times, log_snr(own[1:])))
    return np.concatenate([[1.0], inner])


def ddpm(gamma: Array64) -> Array64:
    """Ancestral sampling from q(r_{t-1} | r_t, x0) (after Eq. 2): (a, b, c, s) for t = T..1.

    With alpha_t = gamma_t / gamma_{t-1} and beta_t = 1 - alpha_t:
    b = beta_t sqrt(gamma_{t-1}) / (1 - gamma_t), a = (1 - gamma_{t-1}) sqrt(alpha_t) / (1 - gamma_t),
    s^2 = beta_t (1 - gamma_{t-1}) / (1 - gamma_t), which is 0 at t = 1.
    """
    now, before = gamma[:0:-1], gamma[-2::-1]
    alpha = now / before
    beta = 1.0 - alpha
    a = (1.0 - before) * np.sqrt(alpha) / (1.0 - now)
    b = beta * np.sqrt(before) / (1.0 - now)
    s = np.sqrt(beta * (1.0 - before) / (1.0 - now))
    return np.stack([a, b, np.zeros_like(a), s], axis=1)


def ddim(gamma: Array64) -> Array64:
    """Deterministic DDIM (Song et al. 2021, Eq. 12, eta = 0): r_{t-1} = sqrt(gamma_{t-1}) x0 +
    sqrt(1 - gamma_{t-1}) eps, with eps = (r_t - sqrt(gamma_t) x0) / sqrt(1 - gamma_t)."""
    now, before = gamma[:0:-1], gamma[-2::-1]
    a = np.sqrt((1.0 - before) / (1.0 - now))
    b = np.sqrt(before) - a * np.sqrt(now)
    zero = np.zeros_like(a)
    return np.stack([a, b, zero, zero], axis=1)


def dpmpp2m(gamma: Array64) -> Array64:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2) for the x0 prediction.

    With lambda half the log-SNR, h = lambda_{t-1} - lambda_t and q = h_previous / h:
    r_{t-1} = (sigma_{t-1} / sigma_t) r_t - sqrt(gamma_{t-1}) (e^{-h} - 1) D,
    D = (1 + 1 / (2 q)) x0 - 1 / (2 q) x0_previous. The first step has no previous x0 and the last an
    infinite h, so both are of first order (D = x0).
    """
    now, before = gamma[:0:-1], gamma[-2::-1]
    half = 0.5 * log_snr(gamma[:0:-1])
    a = np.sqrt((1.0 - before) / (1.0 - now))
    h = np.diff(half)
    # e^{-h} = sqrt(gamma_t / (1 - gamma_t)) sqrt((1 - gamma_{t-1}) / gamma_{t-1}): 0 at the last step
    shrink = np.sqrt(now / (1.0 - now)) * np.sqrt((1.0 - before) / before)
    weight = np.sqrt(before) * (1.0 - shrink)
    lead = np.zeros_like(a)
    lead[1:-1] = h[1:] / (2.0 * h[:-1])
    return np.stack([a, weight * (1.0 + lead), -weight * lead, np.zeros_like(a)], axis=1)


_SOLVERS = {"ddpm": ddpm, "ddim": ddim, "dpmpp2m": dpmpp2m}


def step_table(schedule: ScheduleSpec, sampler: SamplerSpec) -> StepTable:
    """The table of ``sampler`` on ``schedule``.

    ``mean`` is a single step at the noisy end; its result is x0, the denoiser's estimate of the mean
    residual. Raises UsageError for ``mean`` with more than 1 step.
    """
    if sampler.kind == "mean":
        if sampler.steps != 1:
            raise UsageError(
                f"the sampler 'mean' has a single step, {called('steps')} is {sampler.steps}",
                way("steps", "1", "suits it", "choose another sampler"),
            )
        gamma = gammas(schedule, 1)
        solution = np.array([[0.0, 1.0, 0.0, 0.0]])
    else:
        gamma = gammas(schedule, sampler.steps)
        solution = _SOLVERS[sampler.kind](gamma)
    now = gamma[:0:-1]
    x0 = np.stack([np.sqrt(1.0 / now), np.sqrt(1.0 / now - 1.0)], axis=1)
    return StepTable(levels=np.sqrt(now), coefs=np.concatenate([x0, solution], axis=1))
