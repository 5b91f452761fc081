"""An image between its input and the model's: its values, what its deviation says, and what is told of it."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.diffusion.strength import blend, deviation, std_at, words
from petrt.errors import UsageError
from petrt.model.bundle import load_bundle
from tests.models import Reconstructor, noisy_blob


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob((16, 21, 3))


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


def test_the_ends_are_exact_and_the_middle_lies_between():
    rng = np.random.default_rng(0)
    frame = rng.gamma(2, 1e3, (5, 6, 7)).astype(np.float32)
    image = rng.gamma(2, 1e3, frame.shape).astype(np.float32)
    kept, away = blend(frame, image, 1.0)
    assert kept is image
    assert away is None
    given, away = blend(frame, image, 0.0)
    np.testing.assert_array_equal(given, frame)
    assert given is not frame  # inputs stay untouched
    np.testing.assert_array_equal(away, frame - image)
    for strength in (0.25, 0.5, 0.9):
        found, away = blend(frame, image, strength)
        assert found.dtype == np.float32
        expected = (1 - strength) * frame.astype(float) + strength * image.astype(float)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_allclose(away, found - image, atol=2e-3)


def test_the_deviation_is_the_root_mean_square_error_of_what_is_given():
    # The full dose lies around the model's image as its deviation says; the input is given.
    rng = np.random.default_rng(1)
    image = np.full(200_000, 5.0, np.float32)
    std = np.full_like(image, 0.3)
    full = image + std * rng.standard_normal(image.shape).astype(np.float32)
    frame = np.full_like(image, 6.0)
    for strength in (1.0, 0.7, 0.0):
        found, away = blend(frame, image, strength)
        rms = np.sqrt(np.mean((found - full) ** 2))
        assert rms == pytest.approx(float(deviation(std, away)[0]), rel=0.01)


def test_below_1_no_std_counts_as_calibrated():
    record = {"calibrated": True, "factor": 2.0, "level": 0.9, "reason": "fitted"}
    assert std_at(record, 1.0) == record
    below = std_at(record, 0.5)
    assert (below["calibrated"], below["factor"]) == (False, 2.0)
    assert "strength 0.5" in below["reason"]
    assert words(1.0) == []
    assert "0.5" in words(0.5)[0]


def test_a_reconstruction_between_input_and_model(bundle, volume):
    def run(strength: float, **options):
        return Reconstructor(bundle, threads=1, strength=strength, **options)(volume)

    plain = Reconstructor(bundle, threads=1)(volume)
    whole, half, none = run(1), run(0.5), run(0)
    np.testing.assert_array_equal(whole.image, plain.image)
    np.testing.assert_array_equal(whole.std, plain.std)
    np.testing.assert_array_equal(none.image, volume)
    np.testing.assert_allclose(half.image, (volume + plain.image) / 2, rtol=1e-5, atol=1e-3)
    expected = np.hypot(plain.std * plain.stats["std"]["factor"], (volume - plain.image) / 2)
    np.testing.assert_allclose(half.std, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(half.coarse, plain.coarse)
    assert [each.stats["strength"] for each in (whole, half, none)] == [1, 0.5, 0]
    assert half.stats["std"]["calibrated"] is False
    # The activity is that of the image that is given.
    ratios = [each.stats["frames"][0]["activity_ratio"] for each in (none, half, whole)]
    assert ratios[0] == pytest.approx(1)
    assert ratios[1] == pytest.approx((1 + ratios[2]) / 2, rel=1e-4)
    single = run(0.5, samples=1)
    assert single.std is None


def test_the_input_itself_is_never_refused(bundle, volume):
    kept = Reconstructor(bundle, strength=0, threads=1, allow_activity_change=False)(volume)
    np.testing.assert_array_equal(kept.image, volume)


def test_strength_of_the_coarse_prediction_and_on_another_grid(bundle, volume):
    options = {"preset": "coarse", "threads": 1}
    coarse = Reconstructor(bundle, **options)(volume, voxel_mm=(3, 3, 3))
    half = Reconstructor(bundle, strength=0.5, **options)(volume, voxel_mm=(3, 3, 3))
    assert coarse.stats["grid"]["resampled"]
    np.testing.assert_allclose(half.image, (volume + coarse.image) / 2, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan"), "much", None])
def test_nonsense_is_refused(bundle, strength):
    with pytest.raises(UsageError, match="strength is"):
        Reconstructor(bundle, strength=strength)
