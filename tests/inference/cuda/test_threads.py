"""Several threads and one engine: volumes take turns, and a thread records only what it has run itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from petrt.errors import DeviceError
from petrt.inference.reconstruction import Reconstruction
from tests.inference.cuda.conftest import QueuedEngine
from tests.inference.cuda.twins import equal, on_cpu
from tests.models import Reconstructor, noisy_blob


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob((16, 24, 4))


class PerThread(QueuedEngine):
    """As an engine on cuDNN: a thread's first forward chooses algorithms, which no recording survives.

    ``recorder``: the thread that records; ``mixed``: a forward of another one came meanwhile.
    """

    def __init__(self, bundle: Any, cuda: Any) -> None:
        super().__init__(bundle, cuda)
        self._chosen: set[int] = set()
        self.recorder: int | None = None
        self.mixed = False

    def bind(self, graph: str, inputs: Any, outputs: Any) -> Callable[[], None]:
        run = super().bind(graph, inputs, outputs)

        def forward() -> None:
            here = threading.get_ident()
            self.mixed |= self.recorder not in (None, here)
            if here not in self._chosen and self.recorder == here:
                raise DeviceError("chooses algorithms while it is recorded")
            self._chosen.add(here)
            run()

        return forward


@pytest.fixture
def per_thread(bundle: Any, cuda: Any, monkeypatch: pytest.MonkeyPatch) -> PerThread:
    engine = PerThread(bundle, cuda)
    capture = cuda.ReverseLoop.capture

    def noted(*arguments: Any) -> None:
        engine.recorder = threading.get_ident()
        try:
            time.sleep(0.2)  # whoever would come meanwhile has the time to
            capture(*arguments)
        finally:
            engine.recorder = None

    monkeypatch.setattr(cuda.ReverseLoop, "capture", noted)
    return engine


@pytest.mark.parametrize(
    ("order", "graph"),
    [
        ("AAAAA", True),
        ("AABBBBB", True),  # B brings the third run: it is B's first
        ("ABABABAAAAA", True),
        ("AAABBBB", True),  # A has recorded; B replays
        ("ABABABAB", False),  # nobody ever brings three in a row
    ],
)
def test_a_thread_records_what_it_has_run(per_thread, bundle, volume, order, graph):
    reconstructor = Reconstructor(bundle, engine=per_thread, preset="paper", samples=2, seed=7)
    expected = on_cpu(bundle, volume, 2)
    with ThreadPoolExecutor(1) as a, ThreadPoolExecutor(1) as b:
        for name in order:
            found: Reconstruction = {"A": a, "B": b}[name].submit(reconstructor, volume).result()
            equal(found, expected)
    reason = found.stats["launches"]["reason"]
    assert reason.startswith("graph ") if graph else reason == "first runs"


def test_volumes_of_several_threads_on_one_engine_take_turns(per_thread, bundle, volume):
    """What one thread records must not take in what another enqueues on the same stream."""
    first, second = (
        Reconstructor(bundle, engine=per_thread, preset="paper", samples=2, seed=7)
        for _ in range(2)
    )
    done = threading.Event()

    def others() -> Reconstruction:
        found = second(2 * volume)
        while not done.is_set():
            found = second(2 * volume)
        return found

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(others)
        for _ in range(5):
            found = first(volume)
        done.set()
    assert found.stats["launches"]["reason"].startswith("graph ")
    assert not per_thread.mixed
    equal(found, on_cpu(bundle, volume, 2))
    equal(other.result(), on_cpu(bundle, 2 * volume, 2))
