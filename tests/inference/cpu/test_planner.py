"""How slices run on a CPU: every schedule gives the same bits; by rule, within memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petrt.diffusion.noise_schedule import step_table
from petrt.engines.native.engine import NativeEngine
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.torch.engine import TorchEngine
from petrt.errors import DeviceError, UsageError
from petrt.hardware import memory
from petrt.inference.cpu import device, planner
from petrt.inference.cpu import memory as batch_memory
from petrt.inference.cpu.device import CpuDevice
from petrt.inference.cpu.parallelism import (
    MemoryLimit,
    Parallelism,
    Shape,
    best,
    divisor,
    splits,
    usual_batch,
    within,
)
from petrt.inference.cpu.planner import Planner
from petrt.inference.forward import ReverseProcess
from petrt.inference.pipeline import Pipeline
from petrt.model.bundle import Bundle, load_bundle
from tests.models import Reconstructor, noisy_blob

COUNT = st.integers(1, 200)
PARTS = ("image", "std", "coarse")


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def process(bundle: Bundle) -> ReverseProcess:
    sampler = bundle.model.sampler.model_copy(update={"steps": 3})
    return ReverseProcess.of(bundle, step_table(bundle.model.schedule, sampler))


@pytest.fixture(scope="module")
def opened(bundle: Bundle) -> Callable[[int], Any]:
    return cache_of(lambda threads: OnnxRuntimeEngine(bundle, threads=threads))


@pytest.fixture(scope="module")
def native(bundle: Bundle) -> Callable[[int], Any]:
    return cache_of(NativeEngine(bundle).with_threads)


@pytest.fixture
def make(bundle: Bundle, opened: Any) -> Callable[..., Planner]:
    def make(engine: Any = None, **options: Any) -> Planner:
        options = {"cores": 4, "reopen": opened, **options}
        return Planner(bundle, engine or opened(1), bundle.model.network, **options)

    return make


def cache_of(make: Callable[[int], Any]) -> Callable[[int], Any]:
    """``make``, asked once for each number of threads."""
    engines: dict[int, Any] = {}

    def opened(threads: int) -> Any:
        if threads not in engines:
            engines[threads] = make(threads)
        return engines[threads]

    return opened


def plain(result: tuple[np.ndarray, ...]) -> list[bytes]:
    return [part.tobytes() for part in result]


class Fixed:
    """A planner of one way."""

    def __init__(self, schedule: Parallelism, engine: Any) -> None:
        self.schedule, self._engine = schedule, engine

    def plan(self, *_: Any) -> Parallelism:
        return self.schedule

    def engine(self, _: Parallelism) -> Any:
        return self._engine


def run(process: ReverseProcess, schedule: Parallelism, engine: Any, samples: int) -> list[bytes]:
    grid = noisy_blob((16, 24, 5)).transpose(2, 0, 1) / np.float32(900)
    device = CpuDevice(process, Fixed(schedule, engine))  # type: ignore[arg-type]
    pipeline = Pipeline(device, denoises=True)
    options = {"first_id": 0, "noise": None, "report": lambda done: None}
    return plain(pipeline.run(np.ascontiguousarray(grid), samples, 1, **options))  # type: ignore[arg-type]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    workers=st.integers(1, 5),
    threads=st.integers(1, 4),
    slices=st.integers(1, 5),
    samples=st.integers(1, 6),
)
@pytest.mark.parametrize("kind", [pytest.param("opened", marks=pytest.mark.slow), "native"])
def test_no_schedule_changes_a_bit(kind, request, process, workers, threads, slices, samples):
    engine = request.getfixturevalue(kind)
    expected = run(process, Parallelism(1, 1, 1, 1), engine(1), 6)
    assert (
        run(process, Parallelism(workers, threads, slices, samples), engine(threads), 6) == expected
    )


def test_threads_inside_native_calls_cost_no_second_engine(make, bundle):
    engine = NativeEngine(bundle)
    made = make(engine=engine, reopen=engine.with_threads)
    assert made._engine_bytes == 0
    assert made.plan((1, 16, 24), 1, 2).threads == 4
    assert made.engine(Parallelism(2, 3, 1, 1)).threads == 3  # each call has its own


@given(COUNT)
def test_splits_use_every_core_and_begin_with_one_thread_each(cores):
    found = splits(cores)
    assert found[0] == (cores, 1)
    assert found[-1] == (1, cores)
    assert all(workers * threads == cores for workers, threads in found)


@given(COUNT, COUNT)
def test_samples_of_a_call_divide_all(samples, most):
    assert samples % divisor(samples, most) == 0
    assert 1 <= divisor(samples, most) <= most


@given(st.integers(1, 24), st.none() | st.integers(1, 8))
def test_calls_keep_the_engines_limit(samples, most):
    slices, each = usual_batch(samples, most)
    assert samples % each == 0
    assert most is None or slices * each <= most


@pytest.mark.parametrize(
    ("slices", "expected"), [(1, (1, 8)), (2, (2, 4)), (4, (4, 2)), (8, (8, 1)), (128, (8, 1))]
)
def test_volumes_with_fewer_slices_than_cores_use_threads_inside(make, slices, expected):
    plan = make(cores=8).plan((slices, 16, 24), slices, 2)
    assert (plan.workers, plan.threads) == expected
    assert (plan.slices, plan.samples, plan.because) == (1, 2, "usual")


def test_calls_side_by_side_share_the_threads_of_onnx_runtime(make):
    """A session has one pool: 2 workers of 3 threads are 2 callers and 4 threads of the pool."""
    assert make().engine(Parallelism(2, 3, 1, 1)).threads == 5
    assert make().engine(Parallelism(1, 4, 1, 1)).threads == 4
    assert make().engine(Parallelism(4, 1, 1, 1)).threads == 1


def test_an_engine_that_does_not_say_so_gets_one_thread_inside(make, bundle):
    """PyTorch's bits depend on the number of its threads."""
    engine = TorchEngine(bundle)
    plan = make(engine=engine).plan((1, 16, 24), 1, 2)
    assert (plan.workers, plan.threads) == (4, 1)
    assert make(engine=engine).engine(plan) is engine


def test_a_callers_engine_stays_as_it_is(make, opened):
    plan = make(engine=opened(3), reopen=None, cores=7).plan((9, 16, 24), 9, 2)
    assert (plan.workers, plan.threads) == (2, 3)


def test_a_number_of_threads_is_workers_of_one_thread(make):
    plan = make(cores=3, fixed=True).plan((1, 16, 24), 1, 4)
    assert plan == Parallelism(3, 1, 1, 2, "given")


@pytest.mark.parametrize(("samples", "expected"), [(4, (3, 4)), (6, (3, 3))])
def test_a_batch_that_was_given_is_kept_where_it_divides(make, samples, expected):
    plan = make(batch=(3, 4)).plan((9, 16, 24), 9, samples)
    assert (plan.slices, plan.samples) == expected


@given(st.integers(1, 32), st.integers(1, 9))
def test_slices_that_fill_every_round_run_on_one_thread_each(cores, rounds):
    options = [Parallelism(*split, 1, 1) for split in splits(cores)]
    assert best(rounds * cores, options) == options[0]


def test_a_plan_depends_on_nothing_but_its_arguments(make):
    """Whatever ran before, and whoever asks."""
    one = make()
    plans = [one.plan((32, 16, 24), 32, 8) for _ in range(40)]
    assert set(plans) == {make().plan((32, 16, 24), 32, 8)}


# Memory


def test_a_limit_takes_workers_then_the_batch_and_then_refuses(make, bundle, monkeypatch):
    """Numbers of a process of 100 MB."""
    monkeypatch.setattr(memory, "resident", lambda: 100_000_000)
    monkeypatch.setattr(
        batch_memory, "worker_bytes", lambda e, n, s: 40_000_000 * s.slices * s.samples
    )
    volumes = planner.VOLUMES * 4 * 16 * 16 * 24

    def plan(budget: int) -> tuple[int, int, int, int]:
        found = make(budget=budget + volumes, fixed=True).plan((16, 16, 24), 16, 2)
        return found.workers, found.threads, found.slices, found.samples

    assert plan(1_000_000_000) == (4, 1, 1, 2)
    assert plan(420_000_000) == (4, 1, 1, 2)
    assert plan(419_000_000) == (4, 1, 1, 1)  # four of one sample rather than three of two
    assert plan(200_000_000) == (2, 1, 1, 1)
    assert plan(140_000_000) == (1, 1, 1, 1)
    with pytest.raises(DeviceError, match=r"needs about 0\.13 GiB .* be used; --memory 0\.14"):
        plan(139_000_000)


def test_what_another_engine_takes_counts(make, bundle, monkeypatch):
    """One slice on 4 cores: threads inside, unless the second engine does not fit."""
    monkeypatch.setattr(memory, "resident", lambda: 0)
    each = batch_memory.worker_bytes
    room = each(make()._engine, bundle.model.network, Shape(1, 1, 16, 24))
    room += planner.VOLUMES * 4 * 16 * 24
    second = make()._engine_bytes
    assert second > 0
    assert make(budget=room + second).plan((1, 16, 24), 1, 1).threads == 4
    assert make(budget=room + second - 1).plan((1, 16, 24), 1, 1).threads == 1


def test_what_binding_takes_counts(make, bundle, monkeypatch):
    """Weights that an engine packs when its graphs are first bound."""
    monkeypatch.setattr(memory, "resident", lambda: 0)
    room = batch_memory.worker_bytes(make()._engine, bundle.model.network, Shape(1, 1, 16, 24))
    room += planner.VOLUMES * 4 * 16 * 24
    assert make(budget=room, fixed=True).plan((1, 16, 24), 1, 1).workers == 1
    monkeypatch.setattr(OnnxRuntimeEngine, "binding_bytes", 1)
    with pytest.raises(DeviceError, match="one slice at a time needs"):
        make(budget=room, fixed=True).plan((1, 16, 24), 1, 1)


def test_by_default_most_of_what_is_available(monkeypatch):
    monkeypatch.setattr(memory, "resident", lambda: 1000)
    monkeypatch.setattr(memory, "available", lambda: 5000)
    assert MemoryLimit.now(None) == MemoryLimit(1000 + int(memory.SHARE * 5000), 1000)
    assert MemoryLimit.now(3000) == MemoryLimit(3000, 1000)
    monkeypatch.setattr(memory, "available", lambda: None)
    assert MemoryLimit.now(None).workers(7, 1 << 60) == 7


@given(st.integers(1, 64), st.integers(1, 1 << 30), st.integers(0, 1 << 34))
def test_workers_fit(most, each, limit):
    found = MemoryLimit(limit, 1 << 20).workers(most, each, 1 << 10)
    assert 0 <= found <= most
    assert (1 << 20) + (1 << 10) + found * each <= limit or found == 0
    if found < most:
        assert (1 << 20) + (1 << 10) + (found + 1) * each > limit


def test_options_that_do_not_fit_are_dropped():
    options = [Parallelism(4, 1, 1, 8), Parallelism(4, 1, 1, 1)]
    found = within(options, MemoryLimit(1000, 0), lambda s: (s.samples * 200, 100))
    assert found == [Parallelism(4, 1, 1, 1)]


def test_results_within_memory_are_the_same(tiny_bundle, monkeypatch):
    volume = noisy_blob((16, 21, 5))
    usual = Reconstructor(tiny_bundle, samples=4, steps=2)(volume)
    taken, each = memory.resident() or 0, 1 << 28
    monkeypatch.setattr(batch_memory, "worker_bytes", lambda e, n, s: each)
    tight = Reconstructor(tiny_bundle, samples=4, steps=2, memory=taken + each + (1 << 27))(volume)
    assert tight.stats["schedule"]["workers"] == 1
    for part in PARTS:
        np.testing.assert_array_equal(getattr(tight, part), getattr(usual, part))
    with pytest.raises(UsageError, match="memory"):
        Reconstructor(tiny_bundle, memory=0)


@pytest.mark.parametrize("engine", ["onnxruntime", "native"])
def test_a_volume_of_one_slice_runs_on_all_cores_to_the_same_bits(tiny_bundle, monkeypatch, engine):
    monkeypatch.setattr(device, "default_threads", lambda: 4)
    volume = noisy_blob((16, 21, 1))
    options = {"samples": 3, "steps": 2, "engine": engine}
    found = Reconstructor(tiny_bundle, **options)(volume)
    expected = Reconstructor(tiny_bundle, **options, threads=1)(volume)
    assert found.stats["schedule"]["threads_per_call"] == 4
    assert found.stats["threads"] == 4
    for part in PARTS:
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))


def test_the_record_tells_the_schedule(tiny_bundle):
    stats = Reconstructor(tiny_bundle, samples=4, steps=1, threads=3)(noisy_blob((16, 21, 5))).stats
    assert stats["threads"] == 3
    assert stats["schedule"] == {
        "workers": 3,
        "threads_per_call": 1,
        "batch": [1, 2],
        "because": "given",
    }
