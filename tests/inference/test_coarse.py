"""Preset ``coarse``: the prediction before any sample, without the denoiser's time and memory."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.errors import UsageError
from petrt.model.bundle import load_bundle
from tests.models import Reconstructor, noisy_blob


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob((16, 21, 3))


def test_it_is_the_coarse_prediction_of_the_other_presets(bundle, volume):
    coarse = Reconstructor(bundle, preset="coarse", threads=1)(volume)
    drawn = Reconstructor(bundle, threads=1)(volume)
    np.testing.assert_array_equal(coarse.coarse, drawn.coarse)
    np.testing.assert_array_equal(coarse.image, np.maximum(drawn.coarse, 0))
    assert coarse.std is None
    stats = coarse.stats
    assert (stats["samples"], stats["sampler"], stats["preset"]) == (0, None, "coarse")
    assert stats["std"]["calibrated"] is False
    assert "no samples" in stats["std"]["reason"]


def test_the_denoiser_takes_neither_time_nor_memory(bundle, volume):
    bound = []

    class Watched:
        """The engine of ``inner``, and which networks are bound to buffers."""

        def __init__(self, inner) -> None:
            self._inner = inner

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def bind(self, graph, inputs, outputs):
            bound.append(graph)
            return self._inner.bind(graph, inputs, outputs)

    engine = Watched(Reconstructor(bundle, threads=1).engine)
    run = Reconstructor(bundle, engine=engine, preset="coarse", threads=1)
    assert "denoiser" not in run(volume).stats["seconds"]
    assert "denoiser" not in bound
    drawn = Reconstructor(bundle, engine=engine, samples=1, threads=1)
    drawn(volume)
    assert "denoiser" in bound
    shape = (3, 128, 128)
    assert run.memory_for(shape) < drawn.memory_for(shape)


def test_noise_is_refused(bundle, volume):
    with pytest.raises(UsageError, match="draws no samples"):
        Reconstructor(bundle, preset="coarse", threads=1)(
            volume, noise=np.zeros((2, 1, 3, 1, 24, 16))
        )
