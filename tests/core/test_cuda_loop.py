"""The reverse loop on a GPU: the CPU's bits, graphs that equal plain launches, errors that end well."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from petrt import _core
from petrt.schedule import step_table
from petrt.spec import SamplerSpec, ScheduleSpec
from tests.core.cuda_device import Device, cpu_network, device_network

SEED, SIGMA, CLIP = 20240617, 0.7, 1.0
SCHEDULE = ScheduleSpec(kind="log-snr", gamma_min=0.01, gamma_max=0.999)
TABLES = {
    kind: step_table(SCHEDULE, SamplerSpec(kind=kind, steps=steps)).coefs
    for kind, steps in (("ddpm", 4), ("ddim", 3), ("dpmpp2m", 5), ("mean", 1))
}


class Case:
    """Tables and inputs of a run; film rows are as long as an image, for the stand-in network."""

    def __init__(
        self,
        kind: str = "ddpm",
        slices: int = 3,
        samples: int = 2,
        total: int = 5,
        size: tuple[int, int] = (6, 7),
    ) -> None:
        self.coefs, self.slices, self.samples, self.total = TABLES[kind], slices, samples, total
        self.size, self.steps = size, len(self.coefs)
        self.chunks = -(-total // samples)
        rng = np.random.default_rng(1)
        voxels = size[0] * size[1]
        self.film = rng.standard_normal((self.steps, voxels)).astype(np.float32)
        self.coarse = rng.random((slices, 1, *size), np.float32)
        self.ids = np.array([4, 2**32 - 1, 9, 0][:slices])
        self.shape = (slices, samples, *size)

    def noise(self, seed: int = 3) -> np.ndarray:
        shape = (self.chunks, self.steps + 1, self.slices, self.samples, 1, *self.size)
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    def on_cpu(
        self,
        seed: int = SEED,
        ids: np.ndarray | None = None,
        first: int = 0,
        noise: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Mean and std of `total` samples by _core, one sample after another."""
        loop = _core.ReverseLoop(self.coefs, CLIP, self.film, self.slices, 1, *self.size)
        for n in range(self.total):
            chunk, sample = divmod(n, self.samples)
            given = None
            if noise is not None:
                given = np.ascontiguousarray(noise[chunk][:, :, sample : sample + 1])
            loop.run(
                cpu_network(loop), seed, self.ids if ids is None else ids, first + n, noise=given
            )
            loop.accumulate(self.coarse, SIGMA)
        mean, std = (np.empty((self.slices, 1, *self.size), np.float32) for _ in range(2))
        loop.finish(mean, std)
        return [mean, std]

    def on(self, device: Device) -> Any:
        loop = device.module.ReverseLoop(
            self.coefs, CLIP, self.film, *self.shape, SIGMA, device.stream
        )
        loop.coarse.copy_from(device.array(self.coarse), device.stream)
        return loop


def results(device: Device, loop: Any) -> list[np.ndarray]:
    return [device.values(loop.mean), device.values(loop.std)]


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


CASES = [
    Case(),
    Case("ddim", samples=4, total=4, size=(8, 8)),
    Case("dpmpp2m", slices=2, samples=3, total=7, size=(5, 5)),
    Case("dpmpp2m", slices=1, samples=1, total=1, size=(16, 12)),
    Case("mean", slices=4, samples=2, total=1, size=(3, 1)),
    Case("ddpm", slices=2, samples=3, total=6, size=(24, 20)),
]


@pytest.mark.parametrize("case", CASES)
def test_equals_the_cpu_for_given_noise(device: Device, case: Case) -> None:
    noise = case.noise()
    expected = case.on_cpu(noise=noise)
    unread = [i + 1 for i, row in enumerate(case.coefs) if row[5] == 0]
    noise[:, unread] = np.nan
    loop = case.on(device)
    loop.run(None, device_network(device, loop), case.total, device.array(noise))
    assert same(results(device, loop), expected)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_cpu_for_drawn_noise(device: Device, case: Case) -> None:
    loop = case.on(device)
    loop.set_run(SEED, case.ids, 11)
    loop.run(None, device_network(device, loop), case.total)
    expected = case.on_cpu(first=11)
    found = results(device, loop)
    if device.exact:
        assert same(found, expected)
    # Noise that differs by up to 8 of its ulps moves these results by 2e-6 at most.
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b).max() < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_a_graph_equals_plain_launches(device: Device, case: Case) -> None:
    loop = case.on(device)
    network = device_network(device, loop)
    loop.set_run(SEED, case.ids)
    loop.run(None, network, case.total)
    plain = results(device, loop)
    assert not loop.captured(case.total)
    loop.capture(None, network, case.total)
    assert loop.captured(case.total)
    assert same(results(device, loop), plain)  # nothing ran
    loop.mean.copy_from(device.array(np.full_like(plain[0], np.nan)), device.stream)
    for _ in range(2):
        loop.replay(case.total)
        assert same(results(device, loop), plain)


def test_one_graph_draws_by_each_new_seed_and_slices(device: Device) -> None:
    """Runs enqueued one after another, more than there are slots, each with what was set before it."""
    case = Case(total=4)
    loop = case.on(device)
    network = device_network(device, loop)
    loop.capture(None, network, case.total)
    runs = [(seed, np.array([seed, 7, 5]), seed % 3) for seed in range(9)]
    kept = [device.module.DeviceArray(loop.mean.shape) for _ in runs]
    for mean, (seed, ids, first) in zip(kept, runs, strict=True):
        loop.set_run(seed, ids, first)
        loop.replay(case.total)
        mean.copy_from(loop.mean, device.stream)
    found = [device.values(mean) for mean in kept]
    assert len({mean.tobytes() for mean in found}) == len(runs)
    other = case.on(device)
    plain = device_network(device, other)
    for mean, (seed, ids, first) in zip(found, runs, strict=True):
        other.set_run(seed, ids, first)
        other.run(None, plain, case.total)
        assert np.array_equal(mean, device.values(other.mean))


def test_graphs_of_several_totals(device: Device) -> None:
    case = Case()
    loop = case.on(device)
    network = device_network(device, loop)
    loop.set_run(SEED, case.ids)
    expected = {}
    for total in (1, 5):
        loop.run(None, network, total)
        expected[total] = results(device, loop)
        loop.capture(None, network, total)
    for total in (5, 1):
        loop.replay(total)
        assert same(results(device, loop), expected[total])
    assert not expected[1][1].any()  # the deviation of one sample


def test_chunks_and_batches_change_no_bit(device: Device) -> None:
    whole = Case(slices=3, samples=6, total=6)
    loop = whole.on(device)
    loop.set_run(SEED, whole.ids)
    loop.run(None, device_network(device, loop), 6)
    expected = results(device, loop)
    for samples in (1, 2, 4):
        for k in range(3):
            part = Case(slices=1, samples=samples, total=6)
            part.coarse, part.film = whole.coarse[k : k + 1], whole.film
            loop = part.on(device)
            loop.set_run(SEED, whole.ids[k : k + 1])
            loop.run(None, device_network(device, loop), 6)
            for found, wanted in zip(results(device, loop), expected, strict=True):
                assert np.array_equal(found[0], wanted[k])


def test_a_second_run_forgets_the_first(device: Device) -> None:
    case = Case("dpmpp2m")
    loop = case.on(device)
    network = device_network(device, loop)
    poison = device.array(np.full_like(case.noise(), np.nan))
    loop.run(None, network, case.total, poison)
    assert np.isnan(device.values(loop.mean)).all()
    noise = case.noise()
    loop.run(None, network, case.total, device.array(noise))
    assert same(results(device, loop), case.on_cpu(noise=noise))


def test_prologue_comes_first_and_once(device: Device) -> None:
    """It writes what every chunk reads, in the stream's order and in the graph's."""
    case = Case()
    source = device.array(case.coarse)
    loop = case.on(device)
    calls: list[str] = []

    def prologue() -> None:
        calls.append("prologue")
        loop.coarse.copy_from(source, device.stream)

    network = device_network(device, loop)

    def enqueue() -> None:
        calls.append("network")
        network()

    expected = case.on_cpu()
    nothing = device.array(np.full_like(case.coarse, np.nan))
    loop.set_run(SEED, case.ids)
    for graph in (False, True):
        calls.clear()
        loop.coarse.copy_from(nothing, device.stream)
        if graph:
            loop.capture(prologue, enqueue, case.total)
            loop.replay(case.total)
        else:
            loop.run(prologue, enqueue, case.total)
        assert calls == ["prologue"] + ["network"] * case.steps * case.chunks
        found = results(device, loop)
        assert np.allclose(found[0], expected[0], atol=0 if device.exact else 1e-5)


def test_buffers_stay_where_they_are(device: Device) -> None:
    case = Case()
    loop = case.on(device)
    names = ("r", "eps", "film_row", "coarse", "mean", "std")
    before = [getattr(loop, name).ptr for name in names]
    assert all(address % 256 == 0 for address in before)
    shapes = [getattr(loop, name).shape for name in names]
    assert shapes == [(6, 1, 6, 7), (6, 1, 6, 7), (1, 42), *[(3, 1, 6, 7)] * 3]
    loop.set_run(SEED, case.ids)
    loop.run(None, device_network(device, loop), case.total)
    assert [getattr(loop, name).ptr for name in names] == before


def test_what_a_callback_raises_comes_out_and_the_loop_lives_on(device: Device) -> None:
    case = Case()
    loop = case.on(device)
    network = device_network(device, loop)
    loop.set_run(SEED, case.ids)
    loop.run(None, network, case.total)
    expected = results(device, loop)
    calls = 0

    def fails_later() -> None:
        nonlocal calls
        calls += 1
        if calls % 6 == 0:
            raise KeyError("engine lost")
        network()

    def fails() -> None:
        raise KeyError("engine lost")

    for launch in (loop.run, loop.capture):
        for callbacks in ((None, fails_later), (fails, network)):
            with pytest.raises(KeyError, match="engine lost"):
                launch(*callbacks, case.total)
            assert not loop.captured(case.total)
            loop.run(None, network, case.total)
            assert same(results(device, loop), expected)
    loop.capture(None, network, case.total)
    loop.replay(case.total)
    assert same(results(device, loop), expected)


def test_a_refused_capture_says_why_and_ends(device: Device) -> None:
    case = Case()
    loop = case.on(device)
    network = device_network(device, loop)
    loop.set_run(SEED, case.ids)
    loop.run(None, network, case.total)
    expected = results(device, loop)
    refused = device.module.CudaError

    def waits() -> None:
        device.stream.synchronize()

    def waits_and_hides_it() -> None:
        network()
        with pytest.raises(refused, match="StreamCapture"):
            device.stream.synchronize()

    for callback in (waits, waits_and_hides_it):
        with pytest.raises(refused, match="StreamCapture"):
            loop.capture(None, callback, case.total)
        assert not loop.captured(case.total)
        loop.run(None, network, case.total)
        assert same(results(device, loop), expected)


@pytest.mark.parametrize("graph", [False, True])
def test_the_caller_s_stream_waits_and_is_waited_for(device: Device, graph: bool) -> None:
    """What the caller enqueued before is seen; what it enqueues after sees the result."""
    case = Case()
    caller, host = device.module.Stream(), np.empty((3, 1, 6, 7), np.float32)
    loop = case.on(device)
    network = device_network(device, loop)
    nothing = device.array(np.zeros_like(case.coarse))
    loop.set_run(SEED, case.ids)
    loop.run(None, network, case.total)
    expected = results(device, loop)[0]
    loop.capture(None, network, case.total)

    def launch() -> None:
        loop.coarse.copy_from(nothing, device.stream)
        loop.mean.copy_from(nothing, device.stream)
        device.stream.synchronize()
        loop.coarse.upload(case.coarse, caller)
        if graph:
            loop.replay(case.total, caller=caller.handle)
        else:
            loop.run(None, network, case.total, caller=caller.handle)

    launch()
    device.stream.synchronize()  # of the loop's stream alone: the upload has to come before it
    loop.mean.download(host, device.stream)
    device.stream.synchronize()
    assert np.array_equal(host, expected)
    launch()
    loop.mean.download(host, caller)
    caller.synchronize()
    assert np.array_equal(host, expected)


def test_without_the_caller_nothing_is_ordered(twin: Device) -> None:
    """The twin is lazy enough to notice: the same without `caller` misses the noise."""
    case = Case()
    noise, caller = case.noise(), twin.module.Stream()
    loop = case.on(twin)
    given = twin.module.DeviceArray(noise.shape)
    given.upload(noise, caller)
    network = device_network(twin, loop)
    loop.run(None, network, case.total, given)
    found = results(twin, loop)
    assert not same(found, case.on_cpu(noise=noise))


def test_nothing_waits_for_the_gpu(twin: Device) -> None:
    case = Case()
    loop = case.on(twin)
    network = device_network(twin, loop)
    loop.set_run(SEED, case.ids)
    twin.stream.synchronize()
    loop.mean.copy_from(twin.array(np.zeros_like(case.coarse)), twin.stream)
    twin.stream.synchronize()
    loop.set_run(SEED, case.ids)
    loop.run(None, network, case.total)
    loop.capture(None, network, case.total)
    loop.replay(case.total)
    assert twin.module.pending(twin.stream) > 0
    assert not loop.mean.host.any()
    twin.stream.synchronize()
    assert loop.mean.host.any()


def test_graph_after_its_memory_is_gone_is_noticed(twin: Device) -> None:
    case = Case()
    loop = case.on(twin)
    scratch = twin.module.DeviceArray(loop.r.shape)
    loop.set_run(SEED, case.ids)
    held = [scratch]
    loop.capture(None, lambda: loop.eps.copy_from(held[0], twin.stream), case.total)
    del scratch
    held.clear()
    loop.replay(case.total)
    with pytest.raises(twin.module.CudaError, match="InvalidValue"):
        twin.stream.synchronize()


def test_memory_given_back_while_recording_breaks_nothing(device: Device) -> None:
    """As a garbage collector does. CUDA refuses to free meanwhile: it is done afterwards."""
    case = Case()
    loop = case.on(device)
    network = device_network(device, loop)
    loop.set_run(SEED, case.ids)
    loop.run(None, network, case.total)
    expected = results(device, loop)
    waste = [device.module.DeviceArray((64,)), device.module.pinned((64,))]
    waste_bytes = waste[0].nbytes

    def enqueue() -> None:
        waste.clear()
        network()

    free = device.module.memory()[0]
    loop.capture(None, enqueue, case.total)
    if device.exact:  # a GPU gives memory back in larger pieces
        assert device.module.memory()[0] == free + waste_bytes
    loop.replay(case.total)
    assert same(results(device, loop), expected)


def test_a_loop_in_use_refuses_a_second_call(device: Device) -> None:
    case = Case()
    loop = case.on(device)
    loop.set_run(SEED, case.ids)
    network = device_network(device, loop)
    loop.capture(None, network, 1)
    attempts: list[Callable[[], None]] = [
        lambda: loop.run(None, network, 1),
        lambda: loop.capture(None, network, 1),
        lambda: loop.replay(1),
        lambda: loop.set_run(SEED, case.ids),
    ]
    for attempt in attempts:
        with pytest.raises(RuntimeError, match="already in use"):
            loop.run(None, attempt, 1)


def test_two_loops_run_at_once(device: Device) -> None:
    """The network of one waits for that of the other: neither holds the GIL or a lock meanwhile."""
    meet = threading.Barrier(2, timeout=20)
    case = Case()
    devices = [Device(device.module, device.exact) for _ in range(2)]
    loops = [case.on(one) for one in devices]

    def run(one: Device, loop: Any) -> None:
        network = device_network(one, loop)

        def enqueue() -> None:
            meet.wait()
            network()

        loop.set_run(SEED, case.ids)
        loop.run(None, enqueue, case.total)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(devices, loops, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not meet.broken
    found = [results(one, loop) for one, loop in zip(devices, loops, strict=True)]
    assert same(found[0], found[1])


def test_refusals(device: Device) -> None:
    case = Case()
    module, film = device.module, case.film
    settings: dict[str, Any] = {
        "coefs": case.coefs, "clip": 1.0, "film": film, "slices": 3, "samples": 2, "height": 6,
        "width": 7, "sigma_r": 1.0, "stream": device.stream,
    }  # fmt: skip

    def make(**changes: Any) -> Any:
        return module.ReverseLoop(**(settings | changes))

    def nothing() -> None:
        pass

    loop = make()
    first_c = case.coefs.copy()
    first_c[0, 4] = 0.5
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: make(coefs=np.zeros((0, 6)), film=film[:0]), "coefs: expected at least 1 step"),
        (lambda: make(coefs=first_c), "coefs: step 1 has no previous x0"),
        (lambda: make(film=film[:2].copy()), r"film: expected shape \[4, 42\], got \[2, 42\]"),
        (lambda: make(clip=0.0), "clip: expected a positive bound"),
        (lambda: make(samples=0), "expected each at least 1"),
        (lambda: make(sigma_r=-1.0), "sigma_r: expected a positive number"),
        (lambda: loop.run(None, nothing, 1), "run: expected set_run before noise is drawn"),
        (lambda: loop.set_run(1, np.arange(2)), "slice_ids: expected 3 ids, got 2"),
        (lambda: loop.set_run(-1, np.arange(3)), "seed: expected 0 <= seed"),
        (lambda: loop.set_run(1, np.arange(3) - 1), "slice_ids: expected 0 <= id"),
        (lambda: loop.set_run(1, np.arange(3), 2**32 - 1), "first_sample: expected sample numbers"),
        (lambda: loop.replay(3), "total: expected one that was captured, got 3"),
        (lambda: loop.run(None, nothing, 0), "total: expected at least 1 sample"),
        (
            lambda: loop.run(None, nothing, 2, module.DeviceArray((1, 5, 3, 2, 1, 6, 6))),
            r"noise: expected shape \[1, 5, 3, 2, 1, 6, 7\]",
        ),
        (
            lambda: loop.run(None, nothing, 3, module.DeviceArray((1, 5, 3, 2, 1, 6, 7))),
            r"noise: expected shape \[2, 5",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    loop.set_run(1, np.arange(3), 2**32 - 3)
    with pytest.raises(ValueError, match="first_sample: expected sample numbers below"):
        loop.run(None, nothing, 4)
