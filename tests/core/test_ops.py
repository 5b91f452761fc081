"""The operations against their twins, to the bit; statistics against NumPy's own."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt import _core
from petrt.diffusion import reference
from tests.core import twin

NAMES = ("x0_r", "x0_eps", "a", "b", "c", "s")


def fields(count: int, shape: tuple[int, ...], seed: int = 0) -> list[twin.Floats]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
@pytest.mark.parametrize("threads", [1, 3])
def test_stack_slices(depth: int, threads: int) -> None:
    volume = fields(1, (depth, 6, 7))[0]
    for first in range(depth):
        for batch in range(depth - first + 1):
            out = np.full((batch, 5, 6, 7), np.nan, np.float32)
            _core.stack_slices(volume, first, out, threads)
            assert np.array_equal(out, twin.stack_slices(volume, first, batch))


@settings(deadline=None)
@given(
    coefs=st.tuples(*[st.floats(-3, 3)] * 6),
    zeros=st.sets(st.sampled_from(NAMES)),
    clip=st.sampled_from([0.25, 1.0, np.inf]),
    seed=st.integers(0, 1000),
)
def test_reverse_step(coefs: tuple[float, ...], zeros: set[str], clip: float, seed: int) -> None:
    row = np.array([0.0 if name in zeros else v for name, v in zip(NAMES, coefs, strict=True)])
    r, eps, x0, noise = fields(4, (3, 1, 5, 7), seed)
    expected_r, expected_x0 = twin.reverse_step(r, eps, x0, noise, row, clip)
    _core.reverse_step(r, eps, x0, noise, row, clip)
    assert np.array_equal(r, expected_r)
    assert np.array_equal(x0, expected_x0)


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_reverse_step_threads(threads: int) -> None:
    row = np.array([1.1, 0.4, 0.5, 0.4, 0.1, 0.2])
    r, eps, x0, noise = fields(4, (100_003,))
    expected_r, expected_x0 = twin.reverse_step(r, eps, x0, noise, row, 1.0)
    _core.reverse_step(r, eps, x0, noise, row, 1.0, threads)
    assert np.array_equal(r, expected_r)
    assert np.array_equal(x0, expected_x0)


def test_terms_with_zero_coefficient_are_not_read() -> None:
    row = np.array([1.1, 0.4, 0.5, 0.4, 0.0, 0.0])
    r, eps, x0 = fields(3, (64,))
    expected_r, _ = twin.reverse_step(r, eps, x0, None, row, 1.0)
    x0[:] = np.nan
    _core.reverse_step(r, eps, x0, None, row, 1.0)
    assert np.array_equal(r, expected_r)
    assert np.isfinite(x0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_visible(bad: float) -> None:
    row = np.array([1.1, 0.4, 0.5, 0.4, 0.1, 0.2])
    r, eps, x0, noise = fields(4, (40,))
    eps[7] = bad
    expected_r, expected_x0 = twin.reverse_step(r, eps, x0, noise, row, 1.0)
    _core.reverse_step(r, eps, x0, noise, row, 1.0)
    assert np.isnan(r[7])
    assert np.isnan(x0[7])
    assert np.array_equal(r, expected_r, equal_nan=True)
    assert np.array_equal(x0, expected_x0, equal_nan=True)


def moments(
    r: twin.Floats, coarse: twin.Floats, sigma_r: float, threads: int = 1
) -> tuple[twin.Floats, twin.Floats]:
    """Mean and standard deviation of the images of residuals ``r`` [N, H, W], by a loop that holds them."""
    loop = _core.ReverseLoop(
        np.zeros((1, 6)), 1.0, np.zeros((1, 1), np.float32), 1, *r.shape, threads
    )
    loop.r[:, 0] = r
    mean, std = (np.empty((1, 1, *coarse.shape), np.float32) for _ in range(2))
    loop.accumulate(coarse[None, None], sigma_r)
    loop.finish(mean, std)
    return mean[0, 0], std[0, 0]


@pytest.mark.parametrize("samples", [1, 2, 7])
@pytest.mark.parametrize("threads", [1, 4])
def test_moments(samples: int, threads: int) -> None:
    coarse, *r = fields(samples + 1, (200, 190), seed=samples)
    mean, std = moments(np.stack(r), coarse, 0.7, threads)
    images = np.stack([twin.reconstruct(coarse, 0.7, each) for each in r])
    assert (images == 0).any()
    assert (images > 0).any()
    twin_mean, twin_m2 = np.zeros_like(coarse), np.zeros_like(coarse)
    for count, image in enumerate(images):
        twin_mean, twin_m2 = twin.accumulate(image, twin_mean, twin_m2, count)
    assert np.array_equal(mean, twin_mean)
    assert np.array_equal(std, twin.finish(twin_m2, samples))
    exact = images.astype(np.float64)
    # Measured: 1.7e-7 and 2.1e-7, a few roundings of values around 1.
    assert np.abs(mean - exact.mean(0)).max() < 1e-6
    expected = exact.std(0, ddof=1) if samples > 1 else 0.0
    assert np.abs(std - expected).max() < 1e-6


def test_spread_survives_a_large_mean() -> None:
    """A sum of squares would lose a spread of 1e-3 around 100 in float32; Welford keeps it."""
    r = np.stack(fields(50, (20, 50)))
    coarse = np.full((20, 50), 100, np.float32)
    _, std = moments(r, coarse, 1e-3)
    images = coarse + np.float32(1e-3) * r
    expected = images.astype(np.float64).std(0, ddof=1)
    assert np.abs(std / expected - 1).max() < 0.02


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (1, 1), (1, 4), (5, 1), (64, 50)])
@pytest.mark.parametrize("threads", [1, 3])
def test_log_spectrum_equals_the_whole_transform(size: tuple[int, int], threads: int) -> None:
    x = np.random.default_rng(3).random((4, 1, *size))
    out = np.full(x.shape, np.nan, np.float32)
    _core.log_spectrum(np.ascontiguousarray(np.fft.rfft2(x)), out, threads)
    # Measured: 3e-7, where the transform's own rounding meets the 1e-8 floor.
    expected = np.concatenate([reference.spectrum(each[None]) for each in x])
    assert np.abs(out - expected).max() < 1e-6


def test_log_spectrum_of_what_is_flat_or_not_finite() -> None:
    half = np.full((3, 1, 4, 3), 2 + 0j)
    half[1] = 0
    half[2, 0, 1, 1] = np.inf
    out = np.full((3, 1, 4, 4), 7, np.float32)
    _core.log_spectrum(half, out)
    assert not out[:2].any()
    assert np.isnan(out[2]).any()


def test_other_threads_run_meanwhile() -> None:
    """The GIL is released: another thread takes stamps in the middle of a long call."""
    stamps: list[float] = []
    stop = threading.Event()

    def stamp() -> None:
        while not stop.wait(1e-3):
            stamps.append(time.perf_counter())

    out = np.empty(1 << 24, np.float32)  # some 0.2 s
    watcher = threading.Thread(target=stamp)
    watcher.start()
    begin = time.perf_counter()
    _core.normals(1, 2, 3, 4, out)
    end = time.perf_counter()
    stop.set()
    watcher.join()
    quarter = (end - begin) / 4
    assert any(begin + quarter < t < end - quarter for t in stamps)
