"""The reverse loop on a GPU among other streams, threads and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.core.cuda_case import SEED, LoopCase, results, same
from tests.core.cuda_device import Device, device_network


def after_a_run(device: Device) -> tuple[LoopCase, Any, Callable[[], None], Any]:
    """A case, its loop and network, and what one run of them gave."""
    case = LoopCase()
    loop = case.on(device)
    network = device_network(device, loop)
    loop.set_run(SEED, case.ids)
    loop.run(None, network, case.total)
    return case, loop, network, results(device, loop)


def test_what_a_callback_raises_comes_out_and_the_loop_lives_on(device: Device) -> None:
    case, loop, network, expected = after_a_run(device)
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
    case, loop, network, expected = after_a_run(device)
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
    case = LoopCase()
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


def test_nothing_waits_for_the_gpu(twin: Device) -> None:
    case = LoopCase()
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
    case = LoopCase()
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
    case, loop, network, expected = after_a_run(device)
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
    case = LoopCase()
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
    case = LoopCase()
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
    case = LoopCase()
    module, film = device.module, case.film
    sizes = {"slices": 3, "samples": 2, "height": 6, "width": 7}
    settings: dict[str, Any] = {"coefs": case.coefs, "clip": 1.0, "film": film, **sizes}
    settings |= {"sigma_r": 1.0, "stream": device.stream}

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
        (lambda: make(sigma_z=-1.0), "sigma_z: expected 0 to 3 slices, got -1"),
        (lambda: make(sigma_z=1.0).set_run(1, np.arange(3)), "slice_ids: expected ids from 3"),
        (lambda: loop.run(None, nothing, 1), "run: expected set_run before noise is drawn"),
        (lambda: loop.set_run(1, np.arange(2)), "slice_ids: expected 3 ids, got 2"),
        (lambda: loop.set_run(-1, np.arange(3)), "seed: expected 0 <= seed"),
        (lambda: loop.set_run(1, np.arange(3) - 1), "slice_ids: expected 0 <= id"),
        (lambda: loop.set_run(1, np.arange(3), 2**32 - 1), "first_sample: expected sample numbers"),
        (lambda: loop.replay(3), "total: expected one that was captured, got 3"),
        (lambda: loop.run(None, nothing, 0), "total: expected at least 1 sample"),
    ]
    for total, width, says in ((2, 6, r"\[1, 5, 3, 2, 1, 6, 7\]"), (3, 7, r"\[2, 5")):
        noise = module.DeviceArray((1, 5, 3, 2, 1, 6, width))
        call = partial(loop.run, None, nothing, total, noise)
        cases.append((call, f"noise: expected shape {says}"))
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    loop.set_run(1, np.arange(3), 2**32 - 3)
    with pytest.raises(ValueError, match="first_sample: expected sample numbers below"):
        loop.run(None, nothing, 4)
