"""Batches do not depend on who loads them; what does not fit is refused at the start."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import subprocess
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import scipy.fft
import torch

from petrt.data.dataset import Dataset
from petrt.errors import InputError, UsageError
from petrt.train.data import Batch, Slices, loader, make_batch
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


@pytest.mark.parametrize(
    ("changes", "count", "says"),
    [
        ({"data": {"crops": [[8, 8], [10, 8]]}}, 4, "data.crops: 10 x 8"),
        ({"data": {"crops": [[0, 8]]}}, 4, "data.crops: 0 x 8"),
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
