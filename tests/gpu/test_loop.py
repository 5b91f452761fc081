"""The device loop: equal to the CPU's, its graph equal to plain launches, the same again and again."""

from __future__ import annotations

import numpy as np
import pytest

from petrt import _core
from petrt.schedule import step_table
from petrt.spec import SamplerSpec, ScheduleSpec

SLICES, SAMPLES, HEIGHT, WIDTH, STEPS = 3, 2, 9, 10, 4
SIGMA, CLIP = 0.25, 1.5
# The network of these tests: eps <- 0.5 eps + 0.9 clamp(0.8 eps - 0.6 r), by a kernel that both
# sides have, bit for bit.
NET = np.array([0.8, 0.6, 0.5, 0.9, 0.0, 0.0])
IDS = np.array([4, 9, 2], np.int64)


def table():
    return step_table(ScheduleSpec(timesteps=STEPS), SamplerSpec(steps=STEPS))


class OnDevice:
    """A loop with a network that never leaves the device."""

    def __init__(self, device, slices: int = SLICES, samples: int = SAMPLES) -> None:
        self.device, self.module, self.stream = device, device.module, device.stream
        film = np.arange(STEPS * 2, dtype=np.float32).reshape(STEPS, 2)
        self.loop = self.module.ReverseLoop(
            table().coefs, CLIP, film, slices, samples, HEIGHT, WIDTH, SIGMA, self.stream
        )
        self.scratch = device.empty(self.loop.r.shape)
        self.coarse = device.put(coarse()[:slices])

    def prologue(self) -> None:
        """As the networks per slice do; eps starts from zero in every run, as on the CPU."""
        self.loop.coarse.copy_from(self.coarse, self.stream)

    def enqueue(self) -> None:
        loop = self.loop
        self.module.reverse_step(loop.eps, loop.r, self.scratch, None, NET, 2.0, self.stream)

    def clear(self) -> None:
        zero = np.zeros(self.loop.eps.shape, np.float32)
        self.loop.eps.upload(zero, self.stream)
        self.stream.synchronize()

    def run(self, total: int, seed: int = 7, noise=None, ids=IDS) -> tuple[np.ndarray, np.ndarray]:
        self.clear()
        self.loop.set_run(seed, np.ascontiguousarray(ids[: self.loop.mean.shape[0]]))
        given = None if noise is None else self.device.put(noise)
        self.loop.run(self.prologue, self.enqueue, total, given)
        return self.results()

    def replay(self, total: int, seed: int = 7, ids=IDS) -> tuple[np.ndarray, np.ndarray]:
        self.clear()
        self.loop.set_run(seed, ids)
        self.loop.replay(total)
        return self.results()

    def results(self) -> tuple[np.ndarray, np.ndarray]:
        return self.device.get(self.loop.mean), self.device.get(self.loop.std)


def coarse() -> np.ndarray:
    return np.random.default_rng(0).random((SLICES, 1, HEIGHT, WIDTH), dtype=np.float32)


def on_cpu(total: int, seed: int = 7, noise=None) -> tuple[np.ndarray, np.ndarray]:
    film = np.zeros((STEPS, 2), np.float32)
    loop = _core.ReverseLoop(table().coefs, CLIP, film, SLICES, SAMPLES, HEIGHT, WIDTH)
    scratch = np.zeros_like(loop.r)
    loop.eps[:] = 0

    def enqueue() -> None:
        _core.reverse_step(loop.eps, loop.r, scratch, None, NET, 2.0)

    for chunk, first in enumerate(range(0, total, SAMPLES)):
        loop.run(enqueue, seed, IDS, first, None if noise is None else noise[chunk])
        loop.accumulate(coarse(), SIGMA)
    mean, std = (np.empty((SLICES, 1, HEIGHT, WIDTH), np.float32) for _ in range(2))
    loop.finish(mean, std)
    return mean, std


def assert_same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def loop(device) -> OnDevice:
    return OnDevice(device)


@pytest.mark.parametrize("total", [2, 6])
def test_given_noise_gives_the_bits_of_the_cpu(loop, total):
    shape = (total // SAMPLES, STEPS + 1, SLICES, SAMPLES, 1, HEIGHT, WIDTH)
    noise = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    assert_same(loop.run(total, noise=noise), on_cpu(total, noise=noise))


def test_drawn_noise_is_that_of_the_cpu_to_rounding(loop):
    for mine, theirs in zip(loop.run(4), on_cpu(4), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("total", [1, 2, 5])
def test_graph_and_plain_launches_give_the_same_bits(loop, total):
    plain = loop.run(total)
    loop.loop.capture(loop.prologue, loop.enqueue, total)
    assert loop.loop.captured(total)
    assert_same(loop.replay(total), plain)
    assert_same(loop.replay(total), plain)
    assert_same(loop.run(total), plain)


def test_one_graph_serves_other_seeds_and_slices(loop):
    other = np.array([100, 3, 2**32 - 1], np.int64)
    expected = loop.run(3, seed=99, ids=other)
    loop.run(3)
    loop.loop.capture(loop.prologue, loop.enqueue, 3)
    assert_same(loop.replay(3, seed=99, ids=other), expected)
    assert (loop.replay(3)[0] != expected[0]).any()


def test_the_same_seed_gives_the_same_bits_in_a_new_loop(device, loop):
    first = loop.run(4)
    assert_same(loop.run(4), first)
    assert_same(OnDevice(device).run(4), first)
    assert (loop.run(4, seed=8)[0] != first[0]).any()


def test_surplus_samples_of_the_last_chunk_are_left_out(device):
    """Five samples in chunks of two equal five in chunks of five: the noise goes by sample number."""
    two, five = OnDevice(device, samples=2), OnDevice(device, samples=5)
    stateless = np.array([0.8, 0.6, 0.0, 0.9, 0.0, 0.0])  # eps must not depend on the chunk before
    results = []
    for each in (two, five):

        def enqueue(each=each) -> None:
            loop = each.loop
            loop.eps.copy_from(loop.r, each.stream)
            each.module.reverse_step(
                loop.eps, loop.r, each.scratch, None, stateless, 2.0, each.stream
            )

        each.enqueue = enqueue
        results.append(each.run(5))
    assert_same(*results)


def test_an_error_in_a_callback_comes_out_and_the_loop_stays_usable(loop):
    expected = loop.run(2)

    def fails() -> None:
        raise KeyError("network")

    with pytest.raises(KeyError, match="network"):
        loop.loop.run(loop.prologue, fails, 2)
    with pytest.raises(KeyError, match="network"):
        loop.loop.capture(loop.prologue, fails, 2)
    assert_same(loop.run(2), expected)


def test_a_refused_capture_says_why_and_leaves_the_stream_usable(loop):
    expected = loop.run(2)
    error = loop.module.CudaError
    with pytest.raises(error, match=r"apture|unsupported|not permitted"):
        loop.loop.capture(loop.prologue, loop.stream.synchronize, 2)
    assert not loop.loop.captured(2)
    assert_same(loop.run(2), expected)
