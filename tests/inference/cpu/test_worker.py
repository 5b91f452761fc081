"""A worker's buffers go with it."""

from __future__ import annotations

import gc
import weakref

import pytest

from petrt.diffusion.noise_schedule import step_table
from petrt.engines.native.engine import NativeEngine
from petrt.inference.cpu.parallelism import Shape
from petrt.inference.cpu.worker import Clock, Worker
from petrt.inference.forward import ReverseProcess
from petrt.model.bundle import load_bundle


@pytest.fixture
def without_collection():
    """No collector of cycles."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collection")
def test_buffers_are_free_at_once(tiny_bundle):
    """They may be hundreds of MiB, and the next volume's size has others."""
    bundle = load_bundle(tiny_bundle)
    table = step_table(bundle.model.schedule, bundle.model.sampler)
    process = ReverseProcess.of(bundle, table)
    worker = Worker(process, NativeEngine(bundle), Shape(1, 2, 32, 24), Clock())
    left = weakref.ref(worker)
    del worker
    assert left() is None
