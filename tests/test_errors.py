"""Every error of petrt crosses processes: it pickles, and comes back as it was."""

from __future__ import annotations

import copy
import inspect
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from petrt.errors import NonfiniteOutput, PetrtError, UsageError
from petrt.train.interrupt import TrainingStopped
from tests.error_classes import load_all, subclasses

# What the parameters of errors' constructors are called, and a value for each.
VALUES: dict[str, Any] = {"number": 15, "step": 7, "count": 3}


def made(kind: type[PetrtError]) -> PetrtError:
    names = [name for name in inspect.signature(kind.__init__).parameters if name != "self"]
    return kind(*(VALUES.get(name, f"the {name}") for name in names))


def test_every_error_unpickles_as_it_was():
    load_all()
    kinds = {kind for kind in subclasses(PetrtError) if kind.__module__.startswith("petrt.")}
    assert {NonfiniteOutput, TrainingStopped} < kinds
    assert len(kinds) >= 11
    for kind in kinds:
        error = made(kind)
        error.noted = "by hand"  # type: ignore[attr-defined]
        for back in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
            assert type(back) is kind
            assert str(back) == str(error)
            assert back.args == error.args
            assert vars(back) == vars(error)
            assert back.exit_code == error.exit_code


def stop(_: int) -> None:
    raise TrainingStopped(15, 7)


@pytest.mark.parametrize("method", ["spawn"])
def test_a_pool_hands_on_what_a_worker_raises(method):
    with ProcessPoolExecutor(1, get_context(method)) as pool:
        waiting = pool.submit(stop, 0)
        with pytest.raises(TrainingStopped, match="after step 7") as caught:
            waiting.result(timeout=120)
    assert caught.value.exit_code == 143


def test_a_reconstructor_says_that_it_stays_in_its_process(tiny_bundle):
    from petrt.inference.reconstructor import Reconstructor

    with pytest.raises(UsageError, match="build one in each process"):
        pickle.dumps(Reconstructor(tiny_bundle, threads=1))
