"""Batches do not depend on who loads them; what does not fit is refused at the start."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import synchronize

import numpy as np
import pytest
import scipy.fft
import torch

from petrt.data.dataset import Dataset, open_dataset
from petrt.errors import DeviceError, InputError, UsageError
from petrt.hardware.processes import Room
from petrt.train import loader as loading
from petrt.train.data import Batch, Slices, make_batch
from petrt.train.loader import loader
from tests.train.prepared import ALL, assert_same, config, ids, write


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("prepared"))


def joined(parts: list[Batch]) -> Batch:
    return Batch(
        **{name: torch.cat([vars(part)[name] for part in parts]) for name in vars(parts[0])}
    )


@pytest.mark.parametrize("rescale", ["volume", "batch"])
def test_batches_are_the_same_for_any_workers_processes_and_start(data, rescale):
    settings = config(**ALL | {"data": ALL["data"] | {"rescale": rescale}})
    expected = [make_batch(data, ids(data), settings, step) for step in range(5, 9)]
    for workers, world in itertools.product((0, 2), (1, 2, 4)):
        if workers and world > 2:
            continue
        workers_of = {"data": settings.data.model_copy(update={"workers": workers})}
        loading = settings.model_copy(update=workers_of)
        ranks = [
            loader(data, ids(data), loading, first_step=5, rank=rank, world=world)
            for rank in range(world)
        ]
        for batch, *parts in zip(expected, *ranks, strict=False):
            assert_same(batch, joined(parts))
    late = iter(loader(data, ids(data), settings, first_step=7))
    assert_same(next(late), expected[2])
    assert_same(next(late), expected[3])


def test_items_do_not_depend_on_what_was_drawn_before_but_on_seed_and_step(data):
    slices = Slices(data, ids(data), config())
    first = slices[0]
    slices[1]
    assert_same(slices[0], first)
    assert not torch.equal(slices[1].noise[..., :8, :8], first.noise[..., :8, :8])
    other = make_batch(data, ids(data), config(seed=4), 0)
    assert not torch.equal(other.noise[..., :8, :8], first.noise[..., :8, :8])


def test_loading_leaves_the_global_generators_alone(data):
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1]
    next(iter(loader(data, ids(data), config(**ALL), first_step=0)))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_workers_get_names_not_volumes_and_may_be_spawned(tmp_path):
    data = write(tmp_path, shape=(64, 64, 64))
    settings = config(**ALL)
    slices = Slices(data, ids(data), settings)
    expected = slices[0]  # has read volumes
    assert len(pickle.dumps(slices)) < data.pair("sub-0000", 100).low.nbytes / 10
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        values = pool.submit(_values, slices).result()
    for name, tensor in vars(expected).items():
        np.testing.assert_array_equal(values[name], tensor)


def _values(slices: Slices) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in vars(slices[0]).items()}


def test_only_the_training_process_ends_its_workers(data):
    settings = config(data={"workers": 1})
    scipy.fft.fft2(np.ones((64, 8, 8)), workers=2)  # its threads begin anew in each fork
    batches = iter(loader(data, ids(data), settings, first_step=0))
    next(batches)
    (worker,) = multiprocessing.active_children()
    for name in ("TERM", "INT"):  # as somebody else sends them to all processes of a run
        subprocess.run(["sh", "-c", f"kill -{name} {worker.pid}"], check=True)
    for step in range(1, 7):
        assert_same(next(batches), make_batch(data, ids(data), settings, step))
    worker.terminate()  # as Python does when the training process exits
    worker.join(60)
    assert worker.exitcode == 0


def stuck(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Workers, which inherit it, never come back with the batch of ``step``."""
    original = Slices.__getitem__

    def get(self: Slices, wanted: int) -> Batch:
        if wanted == step:
            time.sleep(600)
        return original(self, wanted)

    monkeypatch.setattr(Slices, "__getitem__", get)
    monkeypatch.setattr(loading, "POLL_S", 0.1)


def test_too_little_shared_memory_is_told_before_it_is_waited_for(data, monkeypatch):
    room = Room(100 << 10, 128 << 10)
    monkeypatch.setattr(loading, "shared_memory", lambda: room)
    settings = config(data={"workers": 2, "crops": [[64, 64]]}, batch=16)
    with pytest.raises(DeviceError) as caught:
        loader(data, ids(data), settings, first_step=0)
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert "/dev/shm, which has 100 KiB of 128 KiB free; --workers 0" in text
    loader(data, ids(data), config(data={"workers": 0}), first_step=0)
    room = Room(1 << 30, 1 << 30)
    loader(data, ids(data), settings, first_step=0)


@pytest.mark.parametrize("rescale", ["volume", "batch"])
@pytest.mark.parametrize("world", [1, 2])
def test_the_size_of_a_batch_in_shared_memory_is_known(data, rescale, world):
    settings = config(**ALL | {"data": ALL["data"] | {"rescale": rescale}})
    slices = Slices(data, ids(data), settings, 0, world)
    largest = 0
    for step in range(8):
        tensors = [tensor for tensor in vars(slices[step]).values() if tensor is not None]
        largest = max(largest, sum(t.untyped_storage().nbytes() for t in tensors))
    assert largest <= slices.most_bytes <= 1.1 * largest + 1000


def test_shared_memory_that_fills_up_later_ends_the_wait(data, monkeypatch):
    stuck(monkeypatch, 1)
    rooms = [Room(1 << 30, 1 << 30)]
    monkeypatch.setattr(loading, "shared_memory", lambda: rooms[-1])
    monkeypatch.setattr(loading, "LOOK_S", 0.2)
    batches = iter(loader(data, ids(data), config(data={"workers": 1}), first_step=0))
    next(batches)
    rooms.append(Room(0, 64 << 20))
    words = r"no batch for .*/dev/shm has 0 bytes of 64 MiB free; --workers 0"
    with pytest.raises(DeviceError, match=words):
        next(batches)


def test_workers_that_give_nothing_are_given_up(data, monkeypatch):
    stuck(monkeypatch, 0)
    monkeypatch.setattr(loading, "LOADER_S", 0.3)
    with pytest.raises(DeviceError, match=r"gave no batch.*--workers 0"):
        next(iter(loader(data, ids(data), config(data={"workers": 2}), first_step=0)))
    assert not alive_after(60)


def test_who_stops_does_not_wait_for_a_batch(data, monkeypatch):
    stuck(monkeypatch, 2)
    asked = iter([False, False, True])
    settings = config(data={"workers": 1})
    batches = loader(data, ids(data), settings, first_step=0, stopped=lambda: next(asked))
    assert len(list(batches)) == 2
    assert not alive_after(60)


def alive_after(seconds: float) -> list[multiprocessing.process.BaseProcess]:
    """The children that still live when there are none, or after these seconds."""
    until = time.monotonic() + seconds
    while (children := multiprocessing.active_children()) and time.monotonic() < until:
        time.sleep(0.05)
    return children


def test_a_worker_that_is_killed_is_told_of_with_the_way_out(data):
    settings = config(data={"workers": 1})
    batches = iter(loader(data, ids(data), settings, first_step=0))
    next(batches)
    (worker,) = multiprocessing.active_children()

    def on() -> None:
        with loading.explained_loader():  # as around a training: the signal may come anywhere
            os.kill(worker.pid, signal.SIGKILL)
            for _ in range(1000):
                next(batches)

    with pytest.raises(DeviceError, match=r"worker of the loader was killed.*--workers 0"):
        on()


def test_a_worker_that_dies_while_it_hands_over_a_batch(monkeypatch):
    """The connection breaks before the signal comes."""
    monkeypatch.setattr(loading, "SIGNAL_S", 0.0)

    def broken():
        raise ConnectionResetError
        yield

    with (
        pytest.raises(DeviceError, match="worker of the loader was killed"),
        loading.explained_loader(),
    ):
        loading._received(broken())


def test_an_error_in_a_worker_is_the_same_as_without(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data.folder, folder)
    copy = open_dataset(folder)
    for path in (folder / "volumes").iterdir():
        path.unlink()
    found = []
    for workers in (0, 1):
        with pytest.raises(InputError) as caught:
            next(iter(loader(copy, ids(copy), config(data={"workers": workers}), first_step=0)))
        found.append(str(caught.value))
    assert found[0] == found[1]


def test_workers_that_cannot_be_started_are_one_line(data, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(synchronize.SemLock, "__init__", fail)
    with pytest.raises(DeviceError, match=r"cannot be started: Read-only.*/dev/shm.*--workers 0"):
        next(iter(loader(data, ids(data), config(data={"workers": 1}), first_step=0)))


@pytest.mark.parametrize(
    ("changes", "count", "says"),
    [
        ({"data": {"crops": [[8, 8], [10, 8]]}}, 4, "data.crops: 10 x 8"),
        ({"data": {"doses": {50: 1.0, 20: 0.0}}}, 4, "sub-0000 has no dose of data.doses"),
        ({"data": {"blend": 0.1}}, 4, "data.blend.*sub-0000 has only 1/20"),
        ({"loss": {"contrastive": "margin"}}, 1, "loss.contrastive"),
        ({}, 0, "no training subjects"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_start(data, changes, count, says):
    with pytest.raises(InputError, match=says):
        loader(data, ids(data)[:count], config(**changes), first_step=0)


def test_a_batch_that_cannot_be_shared_is_refused(data):
    with pytest.raises(UsageError, match=r"batch of 4.*3 processes"):
        loader(data, ids(data), config(), first_step=0, world=3)
