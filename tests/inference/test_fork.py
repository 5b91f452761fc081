"""A Reconstructor in a forked process: it works, or says what to do; it never waits for ever."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petrt.errors import DeviceError
from petrt.inference.reconstructor import Reconstructor
from petrt.model.bundle import load_bundle
from tests.models import noisy_blob

WAIT_S = 60.0
VOLUME = noisy_blob((16, 21, 3))
OPTIONS: dict[str, Any] = {
    "device": "cpu",
    "threads": 2,
    "steps": 2,
    "allow_activity_change": True,  # the networks are untrained
}

if "fork" not in multiprocessing.get_all_start_methods():
    pytest.skip("no fork here", allow_module_level=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))


def forked(call: Callable[[], Any]) -> Any:
    """What ``call`` gives, or the text of its DeviceError, in a forked process."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send, args=(theirs, call))
    process.start()
    theirs.close()  # so that a process that fails is no process that waits
    try:
        assert ours.poll(WAIT_S), "it waits for ever"
        return ours.recv()
    finally:
        process.kill()
        process.join()


def _send(out: Connection, call: Callable[[], Any]) -> None:
    try:
        out.send(call())
    except DeviceError as error:
        out.send(str(error))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("engine", ["native", "onnxruntime", "openvino", "torch"])
@pytest.mark.parametrize("used", [True, False])
def test_a_reconstructor_that_was_made_before_the_fork(tiny_bundle: Path, engine: str, used: bool):
    if engine == "openvino":
        pytest.importorskip("openvino")
    reconstructor = Reconstructor(tiny_bundle, engine=engine, **OPTIONS)
    image = reconstructor(VOLUME).image if used else None
    found = forked(lambda: reconstructor(VOLUME).image)
    if engine == "native":
        np.testing.assert_array_equal(found, reconstructor(VOLUME).image)
        return
    assert "made in another process" in found
    assert 'get_context("spawn")' in found
    grid = VOLUME.transpose(2, 0, 1)
    assert forked(lambda: reconstructor.on_grid(grid)) == found
    again = reconstructor(VOLUME).image  # here it works as before
    assert image is None or np.array_equal(image, again)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("engine", ["native", "onnxruntime", "openvino", "torch"])
def test_a_reconstructor_that_is_made_after_the_fork(tiny_bundle: Path, engine: str):
    if engine == "openvino":
        pytest.importorskip("openvino")
    bundle = load_bundle(tiny_bundle)

    def fresh() -> Any:
        return Reconstructor(bundle, engine=engine, **OPTIONS)(VOLUME).image

    image, found = fresh(), forked(fresh)
    if engine in ("native", "onnxruntime"):
        np.testing.assert_array_equal(found, image)
    else:
        assert "was used before this process was forked" in found
        assert 'get_context("spawn")' in found
