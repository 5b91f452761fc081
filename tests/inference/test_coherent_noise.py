"""Noise that is coherent along z, through the Reconstructor on both devices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from petrt import _core
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.evaluation.coherence import neighbour_correlation
from petrt.model.bundle import Bundle, load_bundle
from petrt.model.spec import ModelSpec
from tests.inference.cuda.conftest import QueuedEngine
from tests.inference.cuda.conftest import cuda as cuda  # the fixture
from tests.models import Reconstructor, noisy_blob, tiny_spec

SHAPE, SIGMA_Z, REACH = (16, 24, 5), 1.29, 4


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob(SHAPE)


def of_width(bundle: Bundle, sigma_z: float) -> Bundle:
    """The model with another ``noise_sigma_z``."""
    model = bundle.model.model_copy(update={"noise_sigma_z": sigma_z})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"model": model}))


@pytest.fixture(scope="module")
def coherent(tiny_bundle) -> Bundle:
    return of_width(load_bundle(tiny_bundle), SIGMA_Z)


def noise_from(first_id: int, samples: int, steps: int = 10) -> np.ndarray:
    """What slices with ids first_id .. draw, as the array that the Reconstructor also takes."""
    noise = np.empty((steps + 1, samples, SHAPE[2], 1, *SHAPE[:2]), np.float32)
    for step, sample, z in np.ndindex(noise.shape[:3]):
        plane = noise[step, sample, z].reshape(-1)
        _core.normals(7, first_id + z, sample, step, plane, sigma_z=SIGMA_Z)
    return noise


def test_every_frame_draws_streams_of_its_own(coherent, volume) -> None:
    """Slice z of frame f has the id f (Z + 2 K) + K + z, so frames share no stream."""
    reconstructor = Reconstructor(coherent, preset="paper", samples=2, seed=7, threads=1)
    found = reconstructor(np.stack([volume, volume], axis=3))
    for frame, first_id in enumerate((REACH, SHAPE[2] + 2 * REACH + REACH)):
        one = reconstructor(volume, noise=noise_from(first_id, 2))
        np.testing.assert_array_equal(found.image[..., frame], one.image)
        np.testing.assert_array_equal(found.std[..., frame], one.std)
    assert found.stats["noise_sigma_z"] == SIGMA_Z


@pytest.mark.parametrize(
    "change", [{"batch": (2, 2)}, {"batch": (5, 3)}, {"threads": 4, "batch": (2, 3)}], ids=str
)
def test_batch_and_threads_change_no_bit(coherent, volume, change) -> None:
    plain = Reconstructor(coherent, samples=3, threads=1)(volume)
    other = Reconstructor(coherent, samples=3, **{"threads": 1, **change})(volume)
    for part in ("image", "std", "coarse"):
        np.testing.assert_array_equal(getattr(other, part), getattr(plain, part))


def test_the_gpu_draws_the_same(coherent, volume, cuda) -> None:
    """On the twin of the CUDA runtime: plain launches, then the graph, and a batch beyond the volume."""
    engine = QueuedEngine(coherent, cuda)
    on_gpu = Reconstructor(coherent, engine=engine, samples=3, seed=7, batch=(2, 2))
    cpu = OnnxRuntimeEngine(coherent)
    series = np.stack([volume, volume[::-1]], axis=3)
    expected = Reconstructor(coherent, engine=cpu, samples=3, seed=7, threads=1)(series)
    for _ in range(2):
        found = on_gpu(series)
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.std, expected.std)


def test_samples_vary_alike_in_neighbouring_slices(coherent, volume, tiny_bundle) -> None:
    """Of a volume whose slices are all the same, so that nothing but the noise differs."""
    flat = np.repeat(volume[:, :, 2:3], 12, axis=2)
    found = []
    for bundle in (load_bundle(tiny_bundle), coherent):
        one = Reconstructor(bundle, samples=1, threads=1, sampler="mean")(flat)
        deviation = (one.image - one.coarse).transpose(2, 0, 1)[2:-2]
        deviation -= deviation.mean(axis=0)
        found.append(neighbour_correlation(deviation, np.ones(deviation.shape, bool)))
    assert found[0] < 0.1
    assert found[1] > 0.6


def test_models_without_the_field_draw_slices_for_themselves() -> None:
    stored = tiny_spec().model_dump(mode="json")
    del stored["noise_sigma_z"]
    assert ModelSpec.model_validate(stored).noise_sigma_z == 0
    for wrong in (-0.1, 3.1):
        with pytest.raises(ValidationError, match="noise_sigma_z"):
            ModelSpec.model_validate(stored | {"noise_sigma_z": wrong})
