"""The reverse loop on a GPU: the CPU's bits, and graphs that equal plain launches."""

from __future__ import annotations

import numpy as np
import pytest

from tests.core.cuda_case import SEED, LoopCase, results, same
from tests.core.cuda_device import Device, device_network

CASES = [
    LoopCase(),
    LoopCase("ddim", samples=4, total=4, size=(8, 8)),
    LoopCase("dpmpp2m", slices=2, samples=3, total=7, size=(5, 5)),
    LoopCase("dpmpp2m", slices=1, samples=1, total=1, size=(16, 12)),
    LoopCase("mean", slices=4, samples=2, total=1, size=(3, 1)),
    LoopCase("ddpm", slices=2, samples=3, total=6, size=(24, 20)),
    LoopCase("ddpm", slices=4, samples=3, total=5, sigma_z=1.29),
    LoopCase("mean", slices=3, samples=2, total=4, size=(8, 8), sigma_z=3.0),
]


@pytest.mark.parametrize("case", CASES)
def test_equals_the_cpu_for_given_noise(device: Device, case: LoopCase) -> None:
    noise = case.noise()
    expected = case.on_cpu(noise=noise)
    unread = [i + 1 for i, row in enumerate(case.coefs) if row[5] == 0]
    noise[:, unread] = np.nan
    loop = case.on(device)
    loop.run(None, device_network(device, loop), case.total, device.array(noise))
    assert same(results(device, loop), expected)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_cpu_for_drawn_noise(device: Device, case: LoopCase) -> None:
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
def test_a_graph_equals_plain_launches(device: Device, case: LoopCase) -> None:
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
    case = LoopCase(total=4)
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
    case = LoopCase()
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
    whole = LoopCase(slices=3, samples=6, total=6)
    loop = whole.on(device)
    loop.set_run(SEED, whole.ids)
    loop.run(None, device_network(device, loop), 6)
    expected = results(device, loop)
    for samples in (1, 2, 4):
        for k in range(3):
            part = LoopCase(slices=1, samples=samples, total=6)
            part.coarse, part.film = whole.coarse[k : k + 1], whole.film
            loop = part.on(device)
            loop.set_run(SEED, whole.ids[k : k + 1])
            loop.run(None, device_network(device, loop), 6)
            for found, wanted in zip(results(device, loop), expected, strict=True):
                assert np.array_equal(found[0], wanted[k])


def test_a_second_run_forgets_the_first(device: Device) -> None:
    case = LoopCase("dpmpp2m")
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
    case = LoopCase()
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
    case = LoopCase()
    loop = case.on(device)
    names = ("r", "eps", "film_row", "coarse", "mean", "std")
    before = [getattr(loop, name).ptr for name in names]
    assert all(address % 256 == 0 for address in before)
    shapes = [getattr(loop, name).shape for name in names]
    assert shapes == [(6, 1, 6, 7), (6, 1, 6, 7), (1, 42), *[(3, 1, 6, 7)] * 3]
    loop.set_run(SEED, case.ids)
    loop.run(None, device_network(device, loop), case.total)
    assert [getattr(loop, name).ptr for name in names] == before


@pytest.mark.parametrize("case", CASES)
def test_kept_samples_are_those_of_the_mean(device: Device, case: LoopCase) -> None:
    loop = case.on(device, kept=case.total)
    network = device_network(device, loop)
    loop.set_run(SEED, case.ids)
    loop.run(None, network, case.total)
    mean, std = results(device, loop)
    drawn = device.values(loop.drawn)
    assert drawn.shape == (case.slices, case.total, *case.size)
    np.testing.assert_allclose(drawn.mean(axis=1, keepdims=True), mean, atol=1e-5)
    if case.total > 1:
        np.testing.assert_allclose(drawn.std(axis=1, ddof=1, keepdims=True), std, atol=1e-5)
    plain = case.on(device)
    plain.set_run(SEED, case.ids)
    plain.run(None, device_network(device, plain), case.total)
    assert same(results(device, plain), (mean, std))
    assert plain.drawn is None
    with pytest.raises(ValueError, match="total: expected"):
        loop.run(None, network, case.total + 1)
