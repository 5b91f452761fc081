"""Verification in image terms: sound engines pass with their figures, broken ones fail by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from petrt.engines.native.engine import NativeEngine
from petrt.engines.native.steps import Unsupported
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.errors import DeviceError
from petrt.hardware import packages
from petrt.inference.verify_engine import SLICES, compare, reference_volume, verify
from petrt.model.bundle import Bundle, load_bundle
from tests.engines.store.records import H100


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


class Altered(OnnxRuntimeEngine):
    """ONNX Runtime with something done to what the denoiser predicts."""

    name = "altered"

    def __init__(self, bundle: Bundle, precision: str, alter: Callable[[np.ndarray], None]) -> None:
        super().__init__(bundle)
        self.precision, self._alter = precision, alter

    def bind(self, graph, inputs, outputs):
        run = super().bind(graph, inputs, outputs)

        def altered() -> None:
            run()
            if graph == "denoiser":
                self._alter(outputs["eps"])

        return altered


def test_the_reference_volume_is_a_brain_and_always_the_same():
    volume = reference_volume((32, 48), 4.0)
    assert volume.shape == (32, 48, SLICES)
    assert volume.min() >= 0
    assert np.mean(volume > 0.2 * volume.max()) > 0.1
    assert all(np.ptp(volume[:, :, z]) > 0 for z in range(SLICES))
    assert len({volume[:, :, z].tobytes() for z in range(SLICES)}) == SLICES
    reference_volume.cache_clear()
    np.testing.assert_array_equal(reference_volume((32, 48), 4.0), volume)


def test_the_same_engine_is_equal(tiny: Bundle):
    verified = verify(tiny, OnnxRuntimeEngine(tiny), size=(48, 32), gpu=H100)
    assert verified.psnr_db is None
    assert (verified.suvmax_shift_percent, verified.nonfinite) == (0.0, 0)
    assert verified.against.startswith("onnxruntime ")
    assert "48x32x4" in verified.volume
    assert verified.gpu == H100


def test_the_call_of_an_engine_of_fixed_size_is_verified_whole(tiny: Bundle):
    class Fixed(OnnxRuntimeEngine):
        def batch_range(self, graph: str) -> tuple[int, int]:
            return 6, 6

    assert "32x32x6" in verify(tiny, Fixed(tiny), size=(32, 32)).volume


def test_without_onnxruntime_petrts_own_engine_is_the_reference(tiny: Bundle, monkeypatch):
    runtime = OnnxRuntimeEngine(tiny)
    monkeypatch.setattr(packages, "onnxruntime", lambda: None)
    verified = verify(tiny, runtime, size=(48, 32), gpu=H100)
    assert verified.against.startswith("native ")
    assert verified.against.endswith(", fp32, cpu")
    assert verified.psnr_db is not None
    assert verified.psnr_db > 100
    assert verify(tiny, NativeEngine(tiny), size=(48, 32)).psnr_db is None

    def unsupported(bundle):
        raise Unsupported("native cannot run Conv3D in coarse")

    monkeypatch.setattr("petrt.inference.verify_engine.NativeEngine", unsupported)
    with pytest.raises(
        DeviceError,
        match=r"no float32 to verify .*Conv3D.*no ONNX Runtime; pip install 'petrt\[onnxr",
    ):
        verify(tiny, runtime, size=(48, 32))


def test_pytorch_passes_in_float32_with_a_finite_figure(tiny: Bundle):
    from petrt.engines.torch.engine import TorchEngine

    verified = verify(tiny, TorchEngine(tiny))
    assert verified.psnr_db is not None
    assert verified.psnr_db >= 60
    assert abs(verified.suvmax_shift_percent) <= 0.1


def test_a_small_error_passes_in_16_bit_and_not_in_32(tiny: Bundle):
    def shift(eps: np.ndarray) -> None:
        eps += 0.02

    for precision in ("fp16", "bf16"):
        verified = verify(tiny, Altered(tiny, precision, shift))
        assert verified.psnr_db is not None
        assert 45 < verified.psnr_db < 60
        assert 0.1 < abs(verified.suvmax_shift_percent) < 2
    with pytest.raises(DeviceError, match=r"PSNR [\d.]+ dB \(at least 60 dB\)"):
        verify(tiny, Altered(tiny, "fp32", shift))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_an_engine_whose_noise_is_shifted_fails_by_its_psnr(tiny: Bundle, precision: str):
    def shift(eps: np.ndarray) -> None:
        eps += 0.5

    bar = {"fp32": 60}.get(precision, 45)
    with pytest.raises(
        DeviceError, match=rf"wrong images.*PSNR .* \(at least {bar} dB\)"
    ) as caught:
        verify(tiny, Altered(tiny, precision, shift))
    assert caught.value.message.startswith(
        f"altered {OnnxRuntimeEngine(tiny).version} in {precision}"
    )
    assert ("fp32" in caught.value.hint) is (precision != "fp32")
    assert "\n" not in str(caught.value)


def test_an_engine_that_gives_nan_fails_by_their_number(tiny: Bundle):
    def spoil(eps: np.ndarray) -> None:
        eps[0, 0, 3, 4] = np.nan

    with pytest.raises(DeviceError, match=r": \d+ voxels are NaN or infinite \(allowed 0\)"):
        verify(tiny, Altered(tiny, "bf16", spoil))


def test_an_engine_that_raises_is_not_hidden(tiny: Bundle):
    def fail(eps: np.ndarray) -> None:
        raise DeviceError("the GPU fell off the bus")

    with pytest.raises(DeviceError, match="fell off the bus"):
        verify(tiny, Altered(tiny, "bf16", fail))


def test_a_wrong_maximum_alone_is_noticed(tiny: Bundle, monkeypatch):
    from petrt.inference import verify_engine as module

    volume = reference_volume((32, 32), 2.0)
    expected = module._reconstruct(tiny, OnnxRuntimeEngine(tiny), volume)
    found = expected.copy()
    found[np.unravel_index(found.argmax(), found.shape)] *= 1.03
    images = iter([expected, found])
    monkeypatch.setattr(module, "_reconstruct", lambda *arguments: next(images))
    engine = Altered(tiny, "bf16", lambda eps: None)
    with pytest.raises(DeviceError, match=r"the maximum is \+3\.00 % off \(at most 2 %\)"):
        verify(tiny, engine, size=(32, 32))


def test_figures_are_those_of_the_standard_protocol():
    from petrt.evaluation.metrics import evaluate

    rng = np.random.default_rng(0)
    expected = rng.random((16, 16, 12), np.float32)
    found = expected + 0.01 * rng.standard_normal(expected.shape, np.float32)
    figures = compare(found, expected)
    assert figures.psnr_db == pytest.approx(
        evaluate(found, expected, protocols=["standard"])["standard"]["psnr"], abs=1e-4
    )
    shift = 100 * (found.max() / expected.max() - 1)
    assert figures.suvmax_shift_percent == pytest.approx(shift, rel=1e-4)


def test_a_model_without_an_image_cannot_be_verified():
    with pytest.raises(DeviceError, match="no positive voxel"):
        compare(np.ones((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.float32))
