"""Noise that is coherent along z: a fixed sum of the streams of the slices around, still N(0, 1)."""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from petrt import _core
from tests.core import twin
from tests.core.draws import SEED as SEEDS
from tests.core.draws import WORD, draw
from tests.core.loops import COEFS, FILM, SEED, H, W, coarse_of, enqueue_of

WIDTHS = st.one_of(st.just(0.0), st.floats(0.01, 3))
INSIDE = st.integers(9, 2**32 - 10)  # ids with room for every width


def loop_of(slices: int, samples: int, sigma_z: float, threads: int = 1) -> _core.ReverseLoop:
    return _core.ReverseLoop(COEFS, 1.0, FILM, slices, samples, H, W, threads, sigma_z)


@given(sigma_z=WIDTHS)
def test_weights(sigma_z: float) -> None:
    weights = np.array(_core.slice_weights(sigma_z), np.float32)
    expected = twin.slice_weights(sigma_z)
    assert len(weights) == np.ceil(3 * sigma_z) + 1
    np.testing.assert_allclose(weights, expected[len(expected) // 2 :], rtol=2e-7)
    assert 2 * np.sum(weights[1:].astype(float) ** 2) + weights[0] ** 2 == pytest.approx(
        1, abs=1e-6
    )


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, slice_id=INSIDE, sample=WORD, step=WORD, n=st.integers(1, 70), sigma_z=WIDTHS)
def test_normals_are_the_twins(seed, slice_id, sample, step, n, sigma_z) -> None:
    found = draw(seed, slice_id, sample, step, n, sigma_z=sigma_z)
    expected = twin.coherent_normals(seed, slice_id, sample, step, n, sigma_z)
    # 19 terms of up to 6.8, each with 4 ulp and the roundings of a sum: measured 5e-7.
    np.testing.assert_allclose(found, expected, atol=3e-6)


@pytest.mark.parametrize("sigma_z", [0.0, 1e-300, 1e-3])
def test_a_width_of_0_leaves_each_slice_its_own_stream(sigma_z: float) -> None:
    plain = draw(1, 2, 3, 4, 999)
    assert np.array_equal(draw(1, 2, 3, 4, 999, sigma_z=sigma_z), plain)
    assert np.array_equal(draw(1, 2, 2, 4, 999, sigma_z=sigma_z), -plain)


@pytest.mark.parametrize("sigma_z", [0.0, 1.3])
@pytest.mark.parametrize("first", [6, 7])
def test_a_pair_is_the_same_drawn_together_or_alone(sigma_z: float, first: int) -> None:
    loop, alone = loop_of(2, 3, sigma_z), loop_of(1, 1, sigma_z)
    ids = [4, 2**32 - 5]
    loop.run(enqueue_of(loop), SEED, np.array(ids), first)
    for image, (slice_id, sample) in enumerate(product(ids, range(3))):
        alone.run(enqueue_of(alone), SEED, np.array([slice_id]), first + sample)
        assert np.array_equal(loop.r[image], alone.r[0])


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, slice_id=INSIDE, pair=st.integers(0, 2**31 - 1), step=WORD, sigma_z=WIDTHS)
def test_an_odd_sample_is_the_negative_of_the_even_one(seed, slice_id, pair, step, sigma_z):
    even, odd = (draw(seed, slice_id, 2 * pair + k, step, 64, sigma_z=sigma_z) for k in range(2))
    assert np.array_equal(odd, -even)


@pytest.mark.parametrize("sigma_z", [0.5, 1.29, 3.0])
def test_each_slice_is_standard_normal(sigma_z: float) -> None:
    n = 1 << 18
    z = draw(2024, 30, 0, 4, n, sigma_z=sigma_z).astype(np.float64)
    for k, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs(np.mean(z**k) - mean) < 5 * np.sqrt(variance / n), f"moment {k}"
    assert stats.kstest(z, "norm").pvalue > 1e-4


@pytest.mark.parametrize("sigma_z", [0.7, 1.0, 1.29, 2.0, 3.0])
def test_slices_correlate_by_the_formula(sigma_z: float) -> None:
    n = 1 << 16
    slices = [draw(5, 40 + z, 2, 1, n, sigma_z=sigma_z) for z in range(4)]
    found = np.corrcoef(slices)[0]
    reach = int(np.ceil(3 * sigma_z))
    far = draw(5, 40 + 2 * reach + 1, 2, 1, n, sigma_z=sigma_z)
    assert abs(np.corrcoef(slices[0], far)[0, 1]) < 5 / np.sqrt(n)  # no stream in common
    # A sum instead of the integral: off by 0.019 at a width of 0.7, by less than 2e-4 from 1 on.
    allowed = 5 / np.sqrt(n) + (0.02 if sigma_z < 1 else 2e-4)
    for apart in range(4):
        assert found[apart] == pytest.approx(np.exp(-(apart**2) / (4 * sigma_z**2)), abs=allowed)


def test_loop_draws_the_noise_of_normals() -> None:
    ids, first = [4, 9, 2**32 - 5], 5
    loop = loop_of(3, 3, 1.2)
    loop.run(enqueue_of(loop), SEED, np.array(ids), first)
    by_hand = loop_of(3, 3, 0.0)
    noise = np.empty((len(COEFS) + 1, 3, 3, 1, H, W), np.float32)
    for entry, i, j in np.ndindex(noise.shape[:3]):
        noise[entry, i, j] = draw(SEED, ids[i], first + j, entry, H * W, 1, 1.2).reshape(1, H, W)
    by_hand.run(enqueue_of(by_hand), 0, np.array([1, 2, 3]), noise=noise)
    assert np.array_equal(loop.r, by_hand.r)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    chunk=st.sampled_from([1, 2, 3, 6]),
    threads=st.integers(1, 4),
    order=st.permutations([11, 12, 500, 2**31, 8]),
)
def test_no_split_order_or_thread_changes_a_bit(batch, chunk, threads, order) -> None:
    expected = reconstruct([8, 11, 12, 500, 2**31], 5, 6)
    assert reconstruct(order, batch, chunk, threads) == expected


def reconstruct(ids: list[int], batch: int, chunk: int, threads: int = 1) -> dict[int, str]:
    """A hash of mean and std of 6 samples of each slice, `batch` slices and `chunk` samples at a time."""
    result = {}
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        loop = loop_of(len(part), chunk, 1.29, threads)
        for first in range(0, 6, chunk):
            loop.run(enqueue_of(loop), SEED, np.array(part), first)
            loop.accumulate(coarse_of(part), 0.7)
        mean, std = (np.empty((len(part), 1, H, W), np.float32) for _ in range(2))
        loop.finish(mean, std)
        for i, slice_id in enumerate(part):
            result[slice_id] = hashlib.sha256(mean[i].tobytes() + std[i].tobytes()).hexdigest()
    return result


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_on_images_large_enough_to_split(threads: int) -> None:
    assert np.array_equal(
        draw(1, 12, 3, 4, 50_001, threads, 1.29), draw(1, 12, 3, 4, 50_001, 1, 1.29)
    )


@pytest.mark.parametrize("sigma_z", [-0.1, 3.01, np.nan, np.inf])
def test_widths_out_of_range_are_refused(sigma_z: float) -> None:
    for attempt in (lambda: _core.slice_weights(sigma_z), lambda: loop_of(1, 1, sigma_z)):
        with pytest.raises(ValueError, match="sigma_z: expected 0 to 3 slices, got"):
            attempt()


@pytest.mark.parametrize("slice_id", [2, 2**32 - 3])
def test_ids_without_room_for_their_neighbours_are_refused(slice_id: int) -> None:
    loop = loop_of(1, 1, 0.9)  # reaches three slices to each side
    with pytest.raises(ValueError, match="slice_ids: expected ids from 3 to 4294967292, got"):
        loop.run(lambda: None, SEED, np.array([slice_id]))
    with pytest.raises(ValueError, match="slice_ids: expected ids from 3"):
        draw(1, slice_id, 0, 0, 4, sigma_z=0.9)
    loop.run(lambda: None, SEED, np.array([np.clip(slice_id, 3, 2**32 - 4)]))
