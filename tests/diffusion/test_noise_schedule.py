"""Schedules and samplers: the identities each must obey, whatever its numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petrt.diffusion import reference
from petrt.diffusion.noise_schedule import gammas, log_snr, step_table
from petrt.errors import UsageError
from petrt.model.spec import SamplerSpec, ScheduleSpec

PAPER = ScheduleSpec()
LOG_SNR = ScheduleSpec(kind="log-snr", gamma_max=0.9999, gamma_min=0.005)
schedules = st.sampled_from([PAPER, LOG_SNR])
steps = st.integers(1, 60)


def table(schedule: ScheduleSpec, kind: str, count: int):
    return step_table(schedule, SamplerSpec(kind=kind, steps=count))


def test_paper_schedule_is_the_one_of_the_paper():
    # Linear beta 1e-6 .. 0.5, ten steps, gamma = running product of 1 - beta.
    beta = [1e-6 + (0.5 - 1e-6) * i / 9 for i in range(10)]
    expected = [1.0]
    for value in beta:
        expected.append(expected[-1] * (1 - value))
    np.testing.assert_allclose(gammas(PAPER, 10), expected, rtol=1e-14)
    np.testing.assert_allclose(table(PAPER, "ddpm", 10).levels[0] ** 2, 0.04447, rtol=1e-3)


class StandIn:
    """A denoiser alone, of any function."""

    def denoiser(self, x, r, level, features):
        return 0.9 * r - level * abs(r) + 0.2 * level


@given(schedules, steps)
def test_the_table_of_ddpm_computes_the_reference(schedule, count):
    g = gammas(schedule, count)
    noise = np.random.default_rng(count).standard_normal((count + 1, 1, 1, 4, 4))
    expected = reference.sample(StandIn(), noise[0], None, 1 - g[1:] / g[:-1], noise, 0.8)
    t, r = table(schedule, "ddpm", count), noise[0]
    for level, (x0_r, x0_eps, a, b, c, s), z in zip(t.levels, t.coefs, noise[1:], strict=True):
        x0 = np.clip(x0_r * r - x0_eps * StandIn().denoiser(None, r, level, None), -0.8, 0.8)
        assert c == 0
        r = a * r + b * x0 + s * z
    np.testing.assert_allclose(r, expected, atol=1e-9)


@given(schedules, steps)
def test_gammas_fall_from_one_to_the_same_end(schedule, count):
    g = gammas(schedule, count)
    assert g[0] == 1.0
    assert len(g) == count + 1
    assert (np.diff(g) < 0).all()
    np.testing.assert_allclose(g[-1], gammas(schedule, 10)[-1], rtol=1e-12)


@given(schedules, steps, st.sampled_from(["ddpm", "ddim", "dpmpp2m"]))
def test_an_exact_denoiser_keeps_the_marginals(schedule, count, kind):
    # r_t = sqrt(g_t) x0 + sqrt(1 - g_t) eps must become the same at t - 1: the x0 part exactly, and
    # the noise part in variance. With x0 constant, x0_previous = x0.
    g = gammas(schedule, count)
    now, before = g[:0:-1], g[-2::-1]
    _, _, a, b, c, s = table(schedule, kind, count).coefs.T
    np.testing.assert_allclose(a * np.sqrt(now) + b + c, np.sqrt(before), rtol=1e-9)
    np.testing.assert_allclose(a**2 * (1 - now) + s**2, 1 - before, atol=1e-12)


@given(schedules, steps, st.sampled_from(["ddpm", "ddim", "dpmpp2m"]))
def test_the_last_step_returns_x0_without_noise(schedule, count, kind):
    a, b, c, s = table(schedule, kind, count).coefs[-1, 2:]
    np.testing.assert_allclose([a, b, c, s], [0, 1, 0, 0], atol=1e-12)


def _solve(kind: str, count: int) -> float:
    """The deterministic flow for x0 ~ N(0, 0.2^2), whose ideal x0 estimate is linear in r."""
    g = gammas(LOG_SNR, count)[:0:-1]
    t = table(LOG_SNR, kind, count)
    r, previous = 1.3, 0.0
    for gamma, row in zip(g, t.coefs, strict=True):
        x0 = 0.04 * np.sqrt(gamma) * r / (0.04 * gamma + 1 - gamma)
        r, previous = row[2] * r + row[3] * x0 + row[4] * previous, x0
    return r


def test_second_order_solver_converges_faster():
    # Exact flow of a Gaussian: r scales with the marginal's standard deviation.
    g = gammas(LOG_SNR, 10)[-1]
    exact = 1.3 * 0.2 / np.sqrt(0.04 * g + 1 - g)
    errors = {k: [abs(_solve(k, n) - exact) for n in (20, 80)] for k in ("ddim", "dpmpp2m")}
    assert errors["dpmpp2m"][1] < 0.25 * errors["ddim"][1]
    assert errors["ddim"][0] / errors["ddim"][1] > 3  # order 1: a quarter at four times the steps
    assert errors["dpmpp2m"][0] / errors["dpmpp2m"][1] > 9  # order 2


def test_mean_is_one_evaluation_at_the_noisy_end():
    t = table(PAPER, "mean", 1)
    assert t.coefs[0, 2:].tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(t.levels**2, gammas(PAPER, 10)[-1:], rtol=1e-12)
    with pytest.raises(UsageError, match="single step"):
        table(PAPER, "mean", 2)


@given(st.integers(2, 60))
def test_log_snr_schedule_is_even_in_log_snr(count):
    differences = np.diff(log_snr(gammas(LOG_SNR, count)[1:]))
    np.testing.assert_allclose(differences, differences[0], rtol=1e-9)
