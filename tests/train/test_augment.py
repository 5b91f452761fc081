"""Views of slices and mixtures of doses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt.train.augment import View, draw_view, mixed_dose
from petrt.train.config import DataConfig

sizes = st.tuples(st.integers(1, 14), st.integers(1, 14))
shifts = st.tuples(st.integers(-9, 9), st.integers(-9, 9))


def images(shape: tuple[int, int] = (9, 12), count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).random((count, *shape)).astype(np.float32) + 0.1


@given(sizes, shifts)
@settings(deadline=None)
def test_flip_twice_is_the_identity(size, shift):
    plain, flipped = (View(size, shift, flip)(images()) for flip in (False, True))
    np.testing.assert_array_equal(View(size, flip=True)(flipped), plain)
    # Left-right is H; W stays as it is.
    np.testing.assert_array_equal(flipped, plain[:, ::-1])


@given(sizes, shifts)
@settings(deadline=None)
def test_window_holds_what_fits_and_zeros_around_it(size, shift):
    source = images()
    seen = View(size, shift)(source)
    assert seen.shape == (2, *size)
    assert seen.dtype == np.float32
    assert not np.shares_memory(seen, source)
    # No voxel of the source is 0: what fits is there, each voxel once, and the rest is padding.
    expected = np.prod([min(a, b) for a, b in zip(size, (9, 12), strict=True)])
    assert np.count_nonzero(seen[0]) == expected
    inside = seen[seen > 0]
    assert len(np.unique(inside)) == len(inside)
    assert np.isin(inside, source).all()


def test_window_is_centred_and_shift_moves_it():
    source = images()
    np.testing.assert_array_equal(View((5, 6))(source), source[:, 2:7, 3:9])
    np.testing.assert_array_equal(View((5, 6), (-1, 2))(source), source[:, 1:6, 5:11])
    np.testing.assert_array_equal(View((5, 6), (-9, 9))(source), source[:, :5, 6:])
    np.testing.assert_array_equal(View((11, 12), (1, 0))(source)[:, :9], source)


@pytest.mark.parametrize("size", [(8, 8), (5, 5), (12, 12)])
def test_rotation_by_a_right_angle_moves_voxels(size):
    source = images((8, 8))
    turned = View(size, rotation_deg=90)(source)
    expected = np.rot90(View(size)(source), axes=(1, 2))
    np.testing.assert_allclose(turned, expected, atol=1e-5)


def test_rotation_reads_beyond_the_window():
    """Corners of the turned window show the slice around it, not zeros."""
    turned = View((16, 16), rotation_deg=45)(np.ones((1, 32, 32), np.float32))
    np.testing.assert_allclose(turned, 1, atol=1e-6)


@given(st.integers(0, 2**32), st.floats(0, 30))
@settings(deadline=None, max_examples=30)
def test_all_slices_of_an_item_are_seen_alike(seed, rotation):
    config = DataConfig(rotation_deg=rotation, intensity=0.3)
    view = draw_view(np.random.default_rng(seed), (8, 8), config)
    stack = np.repeat(images(count=1), 5, axis=0)
    seen = view(stack)
    for other in seen[1:]:
        np.testing.assert_array_equal(other, seen[0])
    np.testing.assert_array_equal(view(stack[:1])[0], seen[0])


def test_draws_follow_the_configuration():
    config = DataConfig(shift=3, rotation_deg=5, intensity=0.2)
    rng = np.random.default_rng(0)
    views = [draw_view(rng, (8, 8), config) for _ in range(2000)]
    shift = np.array([view.shift for view in views])
    assert shift.min() == -3
    assert shift.max() == 3
    assert np.mean([view.flip for view in views]) == pytest.approx(0.5, abs=0.05)
    assert np.std([view.rotation_deg for view in views]) == pytest.approx(5, rel=0.1)
    assert np.std(np.log([view.gain for view in views])) == pytest.approx(0.2, rel=0.1)
    still = DataConfig(shift=0, flip=False, rotation_deg=0, intensity=0)
    assert draw_view(rng, (8, 8), still) == View((8, 8))


@given(st.floats(0, 1), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_mixed_dose_lies_between_the_smaller_dose_and_the_sum(weight, first, second):
    dose = mixed_dose(weight, first, second)
    assert min(first, second) * (1 - 1e-9) <= dose <= (first + second) * (1 + 1e-9)
    assert mixed_dose(1, first, second) == pytest.approx(first)
    assert mixed_dose(first / (first + second), first, second) == pytest.approx(first + second)


def test_mixed_dose_is_the_noise_of_the_mixture():
    rng = np.random.default_rng(0)
    first, second = rng.poisson(40, 200_000) / 0.01, rng.poisson(200, 200_000) / 0.05
    mixture = 0.3 * first + 0.7 * second
    # Counts in proportion to the dose: variance / mean^2 = 1 / (4000 dose).
    relative = np.var(mixture) / np.mean(mixture) ** 2
    assert mixed_dose(0.3, 0.01, 0.05) == pytest.approx(1 / (4000 * relative), rel=0.02)
