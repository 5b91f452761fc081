"""Every engine that this machine has on its GPU, against ONNX Runtime on the CPU."""

from __future__ import annotations

import os

import numpy as np
import pytest

from petrt.engines.base import Engine
from petrt.engines.select import select_engine
from petrt.engines.torch.cuda import eager_reason
from petrt.errors import PetrtError
from petrt.model.bundle import load_bundle
from tests.gpu.conftest import gpu_module
from tests.helpers import psnr
from tests.models import Reconstructor

pytestmark = pytest.mark.gpu

ENGINES = ("torch", "onnxruntime", "tensorrt", "tensorrt-rtx")
BARS = {"fp32": 60.0, "fp16": 45.0, "bf16": 45.0}
# Slices of the size that a plan of TensorRT is built for, and fewer than one call of it takes.
HEIGHT, WIDTH = 128, 128
SLICES, SAMPLES = 6, 3


@pytest.fixture(scope="module", autouse=True)
def _on_a_gpu() -> None:
    gpu_module()


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """Blurred noise in a cylinder [X, Y, Z], on the demo model's grid."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(3)
    x, y = np.ogrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    inside = (x**2 + y**2 < 0.7)[..., None]
    noisy = gaussian_filter(rng.gamma(2, 900, (HEIGHT, WIDTH, SLICES)), 1.2)
    return (inside * noisy).astype(np.float32)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    model = load_bundle("demo").model
    shape = (model.sampler.steps + 1, SAMPLES, SLICES, 1, HEIGHT, WIDTH)
    return np.random.default_rng(4).standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def reference(volume, noise):
    return Reconstructor(
        "demo", preset="paper", samples=SAMPLES, engine="onnxruntime", device="cpu"
    )(volume, noise=noise)


@pytest.fixture(scope="module", params=[(e, p) for e in ENGINES for p in BARS], ids="-".join)
def on_gpu(request) -> Reconstructor:
    engine, precision = request.param
    try:
        made = select_engine(load_bundle("demo"), engine, "cuda", precision)
    except PetrtError as error:
        pytest.skip(str(error))
    return Reconstructor("demo", preset="paper", samples=SAMPLES, seed=5, engine=made)


def test_agrees_with_the_cpu_for_the_same_noise(on_gpu, volume, noise, reference):
    result = on_gpu(volume, noise=noise)
    bar = BARS[on_gpu.engine.precision]
    assert psnr(result.coarse, reference.coarse) >= bar
    assert psnr(result.image, reference.image) >= bar
    assert psnr(result.std, reference.std) >= bar - 20  # a difference of nearly equal numbers
    assert result.stats["device"].startswith("cuda")


def test_torch_compiles_the_networks(volume):
    """A fall-back to eager is slower, not wrong; on a run that is meant for a GPU it is a failure."""
    made = select_engine(load_bundle("demo"), "torch", "cuda", "bf16")
    stats = Reconstructor("demo", engine=made)(volume).stats
    if (why := eager_reason()) and not os.environ.get("PETRT_REQUIRE_GPU"):
        pytest.skip(why)
    assert stats["engine"]["networks"] == "compiled"


def test_same_seed_same_bits_by_plain_launches_and_by_graph(on_gpu, volume):
    """Runs 1 and 2 are plain, 3 and 4 a graph where the engine allows, later ones the faster way."""
    results = [on_gpu(volume) for _ in range(6)]
    for result in results[1:]:
        np.testing.assert_array_equal(result.image, results[0].image)
        np.testing.assert_array_equal(result.std, results[0].std)
    reason = results[-1].stats["launches"]["reason"]
    # Recording may be slower, never refused, by an engine that says it can be recorded.
    assert ("graph" in reason) == on_gpu.engine.capturable, reason


def test_drawn_noise_agrees_with_the_cpu(on_gpu, volume):
    cpu = Reconstructor("demo", samples=SAMPLES, seed=5, engine="onnxruntime", device="cpu")
    assert psnr(on_gpu(volume).image, cpu(volume).image) >= BARS[on_gpu.engine.precision]


@pytest.fixture(scope="module")
def eager() -> Engine:
    """The torch engine as it is, uncompiled: a new batch size costs it nothing."""
    from petrt._cuda import Stream
    from petrt.engines.torch.engine import TorchEngine

    return TorchEngine(load_bundle("demo"), precision="fp32", stream=Stream(), mode=None)


DIVISIONS = [{"batch": (2, 3)}, {"batch": (4, 2)}, {"batch": (1, 1)}, {"memory": 1}]


@pytest.mark.parametrize("options", DIVISIONS)
def test_batches_in_flight_give_the_image_of_one_batch(eager, volume, noise, reference, options):
    """Another batch size may choose another algorithm for a convolution; nothing else may differ."""
    parts = Reconstructor("demo", samples=SAMPLES, engine=eager, **options)
    result = parts(volume, noise=noise)
    slices, samples = result.stats["batch"]
    assert slices * samples < SLICES * SAMPLES
    assert (slices, samples) <= options.get("batch", (1, 1))
    assert psnr(result.image, reference.image) >= BARS["fp32"]
    assert psnr(result.std, reference.std) >= BARS["fp32"] - 20
    np.testing.assert_array_equal(parts(volume, noise=noise).image, result.image)


def test_the_same_bits_whatever_was_in_flight(eager, volume):
    """Batches overlap with the transfers of their neighbours: repeated runs would show a race."""
    parts = Reconstructor("demo", samples=SAMPLES, seed=1, engine=eager, batch=(1, 3))
    first = parts(volume)
    for _ in range(8):
        again = parts(volume)
        np.testing.assert_array_equal(again.image, first.image)
        np.testing.assert_array_equal(again.coarse, first.coarse)
