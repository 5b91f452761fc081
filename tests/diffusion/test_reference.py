"""The reference itself: what its equations say of networks whose answer is known, and its quote."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np

from petrt.diffusion import reference

BETA = np.linspace(1e-6, 0.5, 10)


class Ideal:
    """The best denoiser where every residual is N(m, s^2), and a coarse prediction of 1."""

    def __init__(self, m: float, s: float) -> None:
        self.m, self.s = m, s

    def guidance(self, nas, spectrum):
        assert (nas.shape[1], spectrum.shape[1]) == (5, 1)
        return "features"

    def coarse(self, nas, features):
        assert features == "features"
        return np.ones_like(nas[:, 2:3])

    def denoiser(self, x, r, level, features):
        assert features == "features"
        variance = self.s**2 * level**2 + 1 - level**2
        return np.sqrt(1 - level**2) * (r - level * self.m) / variance


def test_samples_have_the_distribution_that_the_denoiser_knows():
    noise = np.random.default_rng(0).standard_normal((11, 2, 1, 200, 200))
    volume = np.zeros((1, 200, 200))
    image, std, coarse = reference.reconstruct(volume, Ideal(0.3, 0.0), BETA, noise)
    np.testing.assert_allclose(image, 1.3, atol=1e-9)  # a residual of no spread is found exactly
    assert std.max() < 1e-9
    assert (coarse == 1).all()
    # r_T ~ N(0, 1) differs from what r_T is distributed as, so 10 steps bias the mean a little.
    image, _, _ = reference.reconstruct(volume, Ideal(0.3, 0.2), BETA, noise[:, :1], sigma_r=0.5)
    assert abs(image.mean() - (1 + 0.5 * 0.3)) < 0.01


def test_the_quote_in_the_documentation_is_the_code():
    text = (Path(__file__).parents[2] / "docs" / "method.md").read_text()
    assert f"```python\n{inspect.getsource(reference.sample)}```" in text
