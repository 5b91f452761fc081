"""The opponents are as good as they can be: near the optimum, never below the input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petrt.errors import InputError
from petrt.evaluation.baselines import best_gaussian, nonlocal_means
from petrt.evaluation.metrics import evaluate

SHAPE = (32, 30, 28)


def pair(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A smooth blob with a step in it, in Bq/ml, and the same with white noise."""
    rng = np.random.default_rng(5)
    x, y, z = (np.indices(SHAPE) - 15) / 12
    full = np.where(x**2 + y**2 + z**2 < 1, np.where(x > 0, 4.0, 2.0), 0.0)
    full = 5000 * gaussian_filter(full, 1.0)
    low = full + noise * rng.normal(0, 5000, SHAPE)
    return low.astype(np.float32), full.astype(np.float32)


def standard_psnr(image, reference) -> float:
    return evaluate(image, reference, protocols=["standard"])["standard"]["psnr"]


@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_gaussian_is_near_the_best_of_a_fine_grid(noise):
    low, full = pair(noise)
    best = best_gaussian(low, full)
    fine = [
        standard_psnr(gaussian_filter(low, s, truncate=3.0), full) for s in np.linspace(0.1, 4, 79)
    ]
    assert best.psnr >= max(fine) - 0.01
    assert best.parameter == pytest.approx(np.linspace(0.1, 4, 79)[np.argmax(fine)], abs=0.1)
    assert best.psnr == pytest.approx(standard_psnr(best.image, full), abs=1e-9)
    np.testing.assert_array_equal(best.image, gaussian_filter(low, best.parameter, truncate=3.0))


def test_nonlocal_means_improves_and_keeps_the_unit():
    low, full = pair(0.5)
    best = nonlocal_means(low, full)
    assert best.psnr > standard_psnr(low, full) + 4
    assert best.psnr == pytest.approx(standard_psnr(best.image, full), abs=1e-9)
    inside = full > 0.5 * full.max()
    assert best.image[inside].mean() == pytest.approx(full[inside].mean(), rel=0.02)
    scaled = nonlocal_means(low / 4096, full / 4096)
    assert scaled.psnr == pytest.approx(best.psnr, abs=1e-3)
    assert scaled.parameter == pytest.approx(best.parameter / 4096, rel=1e-5)


@pytest.mark.parametrize("method", [best_gaussian, nonlocal_means])
def test_equal_volumes_stay_as_they_are(method):
    _, full = pair(0.0)
    best = method(full, full)
    np.testing.assert_array_equal(best.image, full)
    assert (best.parameter, best.psnr) == (0.0, np.inf)


@pytest.mark.parametrize("method", [best_gaussian, nonlocal_means])
def test_refusals(method):
    low, full = pair(0.2)
    for image, reference in ((low[1:], full), (low, 0 * full), (low * np.nan, full)):
        with pytest.raises(InputError):
            method(image, reference)
