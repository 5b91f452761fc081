"""The reverse loop: agreement with the twin, and results that no split, order or thread changes."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt import _core
from petrt.arrays import Array64
from petrt.diffusion import reference
from petrt.diffusion.noise_schedule import step_table
from petrt.model.spec import SamplerSpec, ScheduleSpec
from tests.core import twin
from tests.core.loops import (
    CHANNELS,
    COEFS,
    FILM,
    SEED,
    STEPS,
    H,
    W,
    coarse_of,
    enqueue_of,
    network,
)


def make(slices: int, samples: int, threads: int = 1) -> _core.ReverseLoop:
    return _core.ReverseLoop(COEFS, 1.0, FILM, slices, samples, H, W, threads)


def drawn(ids: list[int], samples: range) -> twin.Floats:
    """The noise the loop draws, [steps + 1, slices, samples, 1, H, W]."""
    noise = np.empty((STEPS + 1, len(ids), len(samples), 1, H, W), np.float32)
    for entry in range(STEPS + 1):
        for i, slice_id in enumerate(ids):
            for j, sample in enumerate(samples):
                flat = noise[entry, i, j].reshape(-1)
                _core.normals(SEED, slice_id, sample, entry, flat)
    return noise


def reconstruct(
    ids: list[int], batch: int, samples: int, chunk: int, threads: int = 1
) -> dict[int, tuple[bytes, bytes]]:
    """Mean and std of each slice, `batch` slices and `chunk` samples at a time."""
    result = {}
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        loop = make(len(part), chunk, threads)
        for first in range(0, samples, chunk):
            loop.run(enqueue_of(loop), SEED, np.array(part), first)
            loop.accumulate(coarse_of(part), 0.7)
        mean, std = (np.empty((len(part), 1, H, W), np.float32) for _ in range(2))
        loop.finish(mean, std)
        for i, slice_id in enumerate(part):
            result[slice_id] = (mean[i].tobytes(), std[i].tobytes())
    return result


def test_loop_equals_twin() -> None:
    ids, samples = [4, 9, 2**32 - 1], range(5, 7)
    loop = make(3, 2)
    loop.run(enqueue_of(loop), SEED, np.array(ids), samples.start)
    noise = drawn(ids, samples).reshape(STEPS + 1, 6, 1, H, W)
    assert np.array_equal(loop.r, twin.reverse_loop(network, COEFS, 1.0, FILM, noise))


def test_given_noise_equals_drawn_noise() -> None:
    ids = [3, 1]
    by_key, by_hand = make(2, 2), make(2, 2)
    by_key.run(enqueue_of(by_key), SEED, np.array(ids))
    noise = drawn(ids, range(2))
    noise[[2, 4]] = np.nan  # after steps 2 and 4, whose s is 0: never read
    by_hand.run(enqueue_of(by_hand), 0, np.array([7, 8]), noise=noise)
    assert np.array_equal(by_key.r, by_hand.r)


def test_the_samples_are_those_that_are_accumulated() -> None:
    ids = [4, 9, 2]
    loop = make(3, 2, threads=2)
    loop.run(enqueue_of(loop), SEED, np.array(ids))
    coarse, drawn = coarse_of(ids), np.empty((6, 1, H, W), np.float32)
    loop.samples(coarse, 0.7, drawn)
    expected = twin.reconstruct(np.repeat(coarse, 2, axis=0), 0.7, loop.r)
    assert np.array_equal(drawn, expected)
    loop.accumulate(coarse, 0.7)
    mean = np.empty((3, 1, H, W), np.float32)
    loop.finish(mean)
    assert np.allclose(mean, drawn.reshape(3, 2, 1, H, W).mean(axis=1), atol=1e-6)
    with pytest.raises(ValueError, match="out: expected shape"):
        loop.samples(coarse, 0.7, drawn[:3])


class StandIn:
    """Networks of the reference that compute what ``by_level`` computes in a loop."""

    def guidance(self, nas: Array64, spectrum: Array64) -> None:
        return None

    def coarse(self, nas: Array64, features: None) -> Array64:
        return 0.3 * nas[:, 2:3]

    def denoiser(self, x: Array64, r: Array64, level: float, features: None) -> Array64:
        return by_level(r, level)


def by_level(r: Any, level: Any) -> Any:
    return 0.9 * r - level * abs(r) + 0.2 * level


def test_samples_and_statistics_are_those_of_the_reference() -> None:
    rng = np.random.default_rng(2)
    volume, noise = rng.random((3, H, W)), rng.standard_normal((11, 5, 3, H, W))
    table = step_table(ScheduleSpec(), SamplerSpec())
    film = table.levels[:, None].astype(np.float32)
    loop = _core.ReverseLoop(table.coefs, 1.0, film, 3, 5, H, W)

    def enqueue() -> None:
        loop.eps[...] = by_level(loop.r, loop.film_row[0, 0])

    given = noise.swapaxes(1, 2)[:, :, :, None].astype(np.float32)
    loop.run(enqueue, 0, np.arange(3), noise=np.ascontiguousarray(given))
    loop.accumulate((0.3 * volume[:, None]).astype(np.float32), 0.4)
    mean, std = (np.empty((3, 1, H, W), np.float32) for _ in range(2))
    loop.finish(mean, std)
    beta = np.linspace(1e-6, 0.5, 10)
    expected = reference.reconstruct(volume, StandIn(), beta, noise, sigma_r=0.4, clip=1.0)
    np.testing.assert_allclose(mean[:, 0], expected[0], atol=1e-6)  # measured: 1e-7
    np.testing.assert_allclose(std[:, 0], expected[1], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    chunk=st.sampled_from([1, 2, 3, 6]),
    threads=st.integers(1, 4),
    order=st.permutations([11, 3, 500, 2**31, 8]),
)
def test_no_split_order_or_thread_changes_a_bit(batch, chunk, threads, order):
    expected = reconstruct([3, 8, 11, 500, 2**31], batch=5, samples=6, chunk=6)
    assert reconstruct(order, batch, 6, chunk, threads) == expected


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_on_images_large_enough_to_split(threads: int) -> None:
    def result(threads: int) -> list[bytes]:
        loop = _core.ReverseLoop(COEFS, 1.0, FILM, 2, 3, 150, 151, threads)
        loop.run(enqueue_of(loop), SEED, np.arange(2))
        loop.accumulate(np.full((2, 1, 150, 151), 0.5, np.float32), 1.0)
        mean, std = (np.empty((2, 1, 150, 151), np.float32) for _ in range(2))
        loop.finish(mean, std)
        return [loop.r.tobytes(), mean.tobytes(), std.tobytes()]

    assert result(threads) == result(1)


def test_a_second_run_forgets_the_first() -> None:
    loop = make(1, 2)
    loop.run(enqueue_of(loop), SEED, np.array([1]))
    expected = loop.r.copy()
    loop.run(enqueue_of(loop), SEED + 1, np.array([2]))
    assert not np.array_equal(loop.r, expected)
    loop.run(enqueue_of(loop), SEED, np.array([1]))
    assert np.array_equal(loop.r, expected)


def test_reset() -> None:
    loop = make(1, 3)
    results = []
    for _ in range(2):
        assert loop.count == 0
        loop.run(enqueue_of(loop), SEED, np.array([1]))
        loop.accumulate(coarse_of([1]), 1.0)
        assert loop.count == 3
        mean, std = (np.empty((1, 1, H, W), np.float32) for _ in range(2))
        loop.finish(mean, std)
        results.append(mean.tobytes() + std.tobytes())
        loop.reset()
    assert results[0] == results[1]


def test_mean_without_std() -> None:
    loop = make(1, 1)
    loop.accumulate(coarse_of([1]), 1.0)  # r is still 0: the image is the coarse one
    mean, std = np.empty((1, 1, H, W), np.float32), np.ones((1, 1, H, W), np.float32)
    loop.finish(mean)
    assert np.array_equal(mean, coarse_of([1]))
    loop.finish(mean, std)
    assert not std.any()


def test_a_nan_from_the_network_reaches_the_mean() -> None:
    loop = make(2, 2)
    calls = 0

    def enqueue() -> None:
        nonlocal calls
        calls += 1
        loop.eps[...] = 0
        if calls == 2:
            loop.eps[3, 0, 2, 2] = np.inf

    loop.run(enqueue, SEED, np.arange(2))
    loop.accumulate(coarse_of([0, 1]), 1.0)
    mean = np.empty((2, 1, H, W), np.float32)
    loop.finish(mean)
    assert np.argwhere(np.isnan(mean)).tolist() == [[1, 0, 2, 2]]


def test_buffers_stay_where_they_are() -> None:
    loop = make(2, 2)

    def addresses() -> list[int]:
        views = (loop.r, loop.eps, loop.film_row)
        return [view.__array_interface__["data"][0] for view in views]

    before = addresses()
    assert all(address % 64 == 0 for address in before)
    assert (loop.r.shape, loop.eps.shape) == ((4, 1, H, W), (4, 1, H, W))
    assert loop.film_row.shape == (1, CHANNELS)
    loop.run(enqueue_of(loop), SEED, np.arange(2))
    loop.accumulate(coarse_of([0, 1]), 1.0)
    loop.reset()
    assert addresses() == before


def test_a_view_keeps_its_buffer_alive() -> None:
    # 64 MiB, so that a freed buffer goes back to the system at once and reading it would crash.
    r = _core.ReverseLoop(COEFS, 1.0, FILM, 1, 1, 4096, 4096).r
    gc.collect()
    r += 1
    assert r.min() == r.max() == 1


def test_what_enqueue_raises_comes_out_and_the_loop_lives_on() -> None:
    loop = make(1, 1)

    def fail() -> None:
        raise KeyError("engine lost")

    with pytest.raises(KeyError, match="engine lost"):
        loop.run(fail, SEED, np.array([0]))
    loop.run(enqueue_of(loop), SEED, np.array([0]))
    other = make(1, 1)
    other.run(enqueue_of(other), SEED, np.array([0]))
    assert np.array_equal(loop.r, other.r)


def test_a_loop_in_use_refuses_a_second_call() -> None:
    loop = make(1, 1)
    attempts: list[Callable[[], None]] = [
        lambda: loop.run(lambda: None, SEED, np.array([0])),
        lambda: loop.accumulate(coarse_of([0]), 1.0),
        loop.reset,
        lambda: loop.finish(np.empty((1, 1, H, W), np.float32)),
    ]
    for attempt in attempts:
        with pytest.raises(RuntimeError, match="already in use"):
            loop.run(attempt, SEED, np.array([0]))


def test_two_loops_run_at_once() -> None:
    """enqueue of one waits for enqueue of the other: neither holds the GIL or a lock meanwhile."""
    meet = threading.Barrier(2, timeout=20)
    loops = [make(1, 1), make(1, 1)]

    def run(loop: _core.ReverseLoop) -> None:
        compute = enqueue_of(loop)

        def enqueue() -> None:
            meet.wait()
            compute()

        loop.run(enqueue, SEED, np.array([5]))

    threads = [threading.Thread(target=run, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not meet.broken
    assert np.array_equal(loops[0].r, loops[1].r)
