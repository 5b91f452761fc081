"""Where the noise levels of training lie."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.diffusion.noise_schedule import log_snr, step_table
from petrt.train.config import TrainConfig, load_config
from petrt.train.levels import draw_gamma, training_time


def config(**loss: object) -> TrainConfig:
    preset = load_config("paper")
    return preset.model_copy(update={"loss": preset.loss.model_copy(update=loss)})


def draw(count: int, **loss: object) -> np.ndarray:
    gamma = draw_gamma(np.random.default_rng(0), count, config(**loss))
    assert gamma.dtype == np.float32
    assert gamma.shape == (count,)
    return gamma


def test_log_snr_levels_are_even_between_their_ends():
    gamma = draw(4000, levels="log-snr", gamma_min=0.01, gamma_max=0.99).astype(np.float64)
    assert gamma.min() >= 0.01 - 1e-6
    assert gamma.max() <= 0.99 + 1e-6
    low, high = log_snr(np.array([0.01, 0.99]))
    assert np.mean((log_snr(gamma) - low) / (high - low)) == pytest.approx(0.5, abs=0.03)


def test_wavegrad_levels_go_beyond_the_sampler():
    """44 % of them lie beyond what the 10 steps of inference visit."""
    assert np.mean(draw(20000, levels="wavegrad") < 0.0444726) == pytest.approx(0.44, abs=0.02)


def test_sampler_levels_are_those_of_its_table():
    model = config().model
    visited = step_table(model.schedule, model.sampler).levels ** 2
    drawn = draw(2000, levels="sampler")
    np.testing.assert_array_equal(np.unique(drawn), np.unique(visited.astype(np.float32)))


def test_training_time_runs_from_no_noise_to_all():
    ends = training_time(np.array([1.0, 0.9999995, 1e-9], np.float32))
    np.testing.assert_allclose(ends, [0, 0, 1], atol=1e-3)
    times = training_time(np.linspace(0.001, 0.999, 50).astype(np.float32))
    assert (np.diff(times) <= 0).all()
