"""Opening an installed engine: found for this GPU, checked, verified once, or refused with the command."""

from __future__ import annotations

import logging

import pytest

from petrt import _core
from petrt.engines.store.folder import installed
from petrt.engines.store.open import gpu_here, open_installed
from petrt.errors import DeviceError
from petrt.hardware import gpus
from petrt.hardware.gpus import Gpu
from petrt.inference import verify_engine as verification
from petrt.model.bundle import GRAPHS, Bundle
from tests.engines.store.records import H100, VERIFIED, of_bundle, put
from tests.engines.tensorrt.fake_tensorrt import VERSION, make_module, make_plan

pytestmark = pytest.mark.usefixtures("fake_cuda", "private_cache")


@pytest.fixture(autouse=True)
def driver(monkeypatch) -> None:
    """This machine has the GPU of ``H100``."""
    here = [Gpu(0, H100.name, H100.compute_capability, 1 << 36)]
    monkeypatch.setattr(gpus, "list_gpus", lambda: here)
    monkeypatch.setattr(gpus, "why_none", lambda: None)
    monkeypatch.setattr(gpus, "driver_version", lambda: H100.driver)


@pytest.fixture
def verified(monkeypatch) -> list[dict[str, object]]:
    """Verification passes; the list tells with what it was called."""
    calls: list[dict[str, object]] = []

    def verify(bundle, engine, **options):
        calls.append({"engine": engine, **options})
        return VERIFIED.model_copy(update={"gpu": options["gpu"]})

    monkeypatch.setattr(verification, "verify", verify)
    return calls


def put_plans(bundle: Bundle, **changes):
    plans = {f"{graph}.plan": make_plan(bundle.files[f"{graph}.onnx"]) for graph in GRAPHS}
    fields = {"model": of_bundle(bundle), "engine_version": VERSION, "petrt": _core.__version__}
    return put(plans, **fields | changes)


def opened(bundle: Bundle, *, rtx: bool = False, **options):
    kind = "tensorrt-rtx" if rtx else "tensorrt"
    verify = verification.verify_first_use
    return open_installed(bundle, kind, trt=make_module(rtx=rtx), verify=verify, **options)


def test_the_first_use_verifies_and_keeps_the_result(tiny, verified, caplog):
    entry = put_plans(tiny)
    with caplog.at_level(logging.INFO, "petrt"):
        engine = opened(tiny)
    assert (engine.name, engine.precision, engine.device) == ("tensorrt", "bf16", "cuda:0")
    assert f"first use of this engine on {H100.name} with driver 570.1" in caplog.text
    height, width = entry.record.profile.height[1], entry.record.profile.width[1]
    assert verified == [{"engine": engine, "size": (height, width), "gpu": H100}]
    assert installed()[0][0].record.verified_on(H100)
    opened(tiny)
    assert len(verified) == 1


def test_a_new_driver_verifies_an_rtx_engine_again(tiny, verified, monkeypatch):
    put_plans(tiny, engine="tensorrt-rtx", targets=((8, 6), (9, 0)))
    for driver in ("570.1", "570.1", "580.2", "580.2"):
        monkeypatch.setattr(gpus, "driver_version", lambda driver=driver: driver)
        engine = opened(tiny, rtx=True)
        assert engine.name == "tensorrt-rtx"
    assert [call["gpu"].driver for call in verified] == ["570.1", "580.2"]


def test_an_engine_with_wrong_images_is_never_handed_out(tiny, monkeypatch):
    def fail(*arguments, **options):
        raise DeviceError("wrong images")

    monkeypatch.setattr(verification, "verify", fail)
    put_plans(tiny)
    for _ in range(2):
        with pytest.raises(DeviceError, match="wrong images"):
            opened(tiny)
    assert installed()[0][0].record.verified is None


def test_the_precision_asked_for_is_opened(tiny, verified):
    put_plans(tiny, precision="fp32")
    put_plans(tiny, precision="bf16")
    for precision in ("fp32", "bf16"):
        assert opened(tiny, precision=precision).precision == precision
    with pytest.raises(DeviceError, match="no TensorRT engine for NVIDIA H100: precision"):
        opened(tiny, precision="fp16")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (None, "no TensorRT engine is installed"),
        ({"engine_version": "11.3"}, f"TensorRT 11.3 -> {VERSION}"),
        ({"gpu": H100.model_copy(update={"driver": "550.9"})}, "driver 550.9 -> 570.1"),
    ],
)
def test_what_does_not_fit_is_refused_with_reason_and_command(tiny, changes, reason):
    if changes is not None:
        put_plans(tiny, **changes)
    with pytest.raises(DeviceError) as caught:
        opened(tiny)
    assert caught.value.message == f"no TensorRT engine for NVIDIA H100: {reason}"
    assert caught.value.hint == f"petrt build-engine {tiny.source}"
    assert caught.value.exit_code == 4


def test_damaged_plans_are_refused_before_tensorrt_sees_them(tiny, verified):
    entry = put_plans(tiny)
    path = entry.folder / "denoiser.plan"
    path.write_bytes(path.read_bytes().replace(b"INPUT", b"inPUT", 1))

    class Untouched:
        __version__ = VERSION

    with pytest.raises(DeviceError, match=r"denoiser\.plan was altered"):
        open_installed(tiny, "tensorrt", trt=Untouched())


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    with pytest.raises(DeviceError, match="no cuda:2, only 1"):
        gpu_here(2)
    monkeypatch.setattr(gpus, "list_gpus", list)
    monkeypatch.setattr(gpus, "why_none", lambda: "no NVIDIA driver")
    with pytest.raises(DeviceError, match="no NVIDIA driver; see petrt doctor"):
        gpu_here()
