"""The TensorRT engine: same values as ONNX Runtime, the right calls in the right order, plain errors."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pytest

from petrt.bundle import GRAPHS, Bundle
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.tensorrt import TensorRTEngine, import_tensorrt, install_command
from petrt.errors import DeviceError, OutOfDeviceMemory
from petrt.wiring import wire
from tests.engines import fake_tensorrt
from tests.engines.fake_tensorrt import DeviceArray, Stream, make_module, make_plan
from tests.engines.real_tensorrt import run_with_tensorrt, tensorrt_folder

__all__ = ["tensorrt_folder"]

pytestmark = pytest.mark.usefixtures("fake_cuda")


def make_engine(bundle: Bundle, *, rtx: bool = False, **faults: Any) -> TensorRTEngine:
    plans = {g: make_plan(m, **faults) for g in GRAPHS if (m := bundle.onnx(g)) is not None}
    return open_plans(bundle, plans, rtx=rtx)


def open_plans(bundle: Bundle, plans: dict[str, bytes], *, rtx: bool = False) -> TensorRTEngine:
    return TensorRTEngine(
        bundle,
        plans,
        kind="tensorrt-rtx" if rtx else "tensorrt",
        precision="fp32",
        stream=Stream(),
        trt=make_module(rtx=rtx),
    )


def buffers_for(engine: TensorRTEngine, graph: str, shape: dict[str, tuple[int, ...]]):
    inputs = {name: DeviceArray(size) for name, size in shape.items()}
    made = engine.output_shapes(graph, shape)
    return inputs, {name: DeviceArray(size) for name, size in made.items()}


def coarse_shapes(engine: TensorRTEngine, slices: int, size: int) -> dict[str, tuple[int, ...]]:
    x = {"x": (slices, 1, size, size)}
    guides = {name: (slices, 5 if name == "nas" else 1, size, size)
              for name in engine.tensors("guidance")[0]}  # fmt: skip
    made = engine.output_shapes("guidance", guides)
    return x | {name: shape for name, shape in made.items() if name.startswith("features_")}


@pytest.mark.parametrize("rtx", [False, True])
def test_every_graph_gives_the_values_of_onnx_runtime(tiny: Bundle, rtx: bool):
    rng = np.random.default_rng(0)

    class Loop:
        r, eps = DeviceArray((4, 1, 32, 32)), DeviceArray((4, 1, 32, 32))
        film_row = DeviceArray((1, tiny.noise_bias(np.array([0.5])).shape[1]))

    names = {"x": 1, "nas": 5, "spectrum": 1, "x_cp": 1}
    images = {name: DeviceArray((2, channels, 32, 32)) for name, channels in names.items()}
    for array in (*images.values(), Loop.r, Loop.film_row):
        array.host[:] = rng.standard_normal(array.shape, np.float32)
    engine = make_engine(tiny, rtx=rtx)
    network = tiny.model.network
    found = wire(engine, network, images, Loop, DeviceArray, engine.bind)
    for run in (*found.per_slice, found.denoise):
        run()
    results = images["x_cp"].host.copy(), Loop.eps.host.copy()
    reference = OnnxRuntimeEngine(tiny)

    class HostLoop:
        r, eps, film_row = Loop.r.host, np.zeros_like(Loop.eps.host), Loop.film_row.host

    hosts = {name: array.host.copy() for name, array in images.items()}
    expected = wire(
        reference, network, hosts, HostLoop,
        lambda shape, dtype: np.zeros(shape, dtype), reference.bind,
    )  # fmt: skip
    for run in (*expected.per_slice, expected.denoise):
        run()
    np.testing.assert_array_equal(results[0], hosts["x_cp"])
    np.testing.assert_array_equal(results[1], HostLoop.eps)
    assert np.ptp(results[1]) > 0


def test_it_tells_what_the_runtime_asks(tiny: Bundle):
    engine = make_engine(tiny, dtypes={"features_1": "BF16", "x": "FLOAT"})
    assert (engine.name, engine.device, engine.precision) == ("tensorrt", "cuda:0", "fp32")
    assert engine.version == fake_tensorrt.VERSION
    assert engine.capturable
    assert engine.tensors("denoiser")[0]["r"] == ["images", 1, "height", "width"]
    assert {engine.max_batch(g) for g in ("guidance", "coarse")} == {4}
    assert engine.max_batch("denoiser") == 8
    assert engine.dtypes("guidance")["features_1"] == "bfloat16"
    assert engine.dtypes("coarse")["x"] == "float32"


def test_a_bound_graph_was_run_once_and_waited_for(tiny: Bundle):
    engine = make_engine(tiny)
    inputs, outputs = buffers_for(engine, "coarse", coarse_shapes(engine, 2, 32))
    inputs["x"].host[:] = 1
    run = engine.bind("coarse", inputs, outputs)
    assert engine.stream.synchronized == 1
    assert outputs["x_cp"].host.any()
    run()
    assert engine.stream.synchronized == 1  # running only enqueues


@pytest.mark.parametrize(
    ("slices", "size", "command"),
    [
        (5, 32, "petrt build-engine {} --slices 1,5,5 --size 32x32"),
        (2, 96, "petrt build-engine {} --slices 1,2,2 --size 96x96"),
    ],
)
def test_a_shape_outside_the_profile_names_profile_and_command(tiny, slices, size, command):
    engine = make_engine(tiny)
    inputs, outputs = buffers_for(engine, "coarse", coarse_shapes(engine, slices, size))
    with pytest.raises(DeviceError) as caught:
        engine.bind("coarse", inputs, outputs)
    assert f"coarse: x is {slices}x1x{size}x{size}" in caught.value.message
    assert "1x1x16x16 to 4x1x64x64" in caught.value.message
    assert caught.value.hint == command.format(tiny.source)
    assert "\n" not in str(caught.value)


def test_too_many_samples_name_samples(tiny: Bundle):
    engine = make_engine(tiny)
    shapes = {name: tuple(d if isinstance(d, int) else _at(d) for d in dims)
              for name, dims in engine.tensors("denoiser")[0].items()}  # fmt: skip
    inputs, outputs = buffers_for(engine, "denoiser", shapes)
    with pytest.raises(DeviceError, match="--slices 1,2,2 --samples 1,6,6 --size 32x32"):
        engine.bind("denoiser", inputs, outputs)


def _at(dim: str) -> int:
    base, _, over = dim.partition("/")
    return {"slices": 2, "images": 12, "height": 32, "width": 32}[base] // int(over or 1)


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("INTERNAL_ERROR", "kernel\n  exploded", DeviceError),
        ("FAILED_ALLOCATION", "no room", OutOfDeviceMemory),
        ("INTERNAL_ERROR", "Cuda Runtime (out of memory)", OutOfDeviceMemory),
    ],
)
def test_a_failed_enqueue_tells_graph_shapes_and_reason_in_one_line(tiny, code, text, kind):
    engine = make_engine(tiny, enqueue=(code, text))
    inputs, outputs = buffers_for(engine, "coarse", coarse_shapes(engine, 1, 32))
    with pytest.raises(DeviceError) as caught:
        engine.bind("coarse", inputs, outputs)
    assert type(caught.value) is kind
    assert "failed in coarse on x 1x1x32x32" in caught.value.message
    assert str(caught.value).endswith(" ".join(text.split()))
    with pytest.raises(DeviceError):  # the reason is that of the last failure only
        engine.bind("coarse", inputs, outputs)


def test_a_refused_plan_names_the_command(tiny: Bundle):
    plans = {graph: make_plan(tiny.files[f"{graph}.onnx"]) for graph in GRAPHS}
    with pytest.raises(DeviceError, match=r"refuses the plan of coarse: Serialization assertion f"):
        open_plans(tiny, plans | {"coarse": b"not a plan"})


def test_a_plan_of_another_network_is_refused(tiny: Bundle):
    plans = {graph: make_plan(tiny.files[f"{graph}.onnx"]) for graph in GRAPHS}
    with pytest.raises(
        DeviceError, match="the plan of coarse is not of this model: its inputs are"
    ):
        open_plans(tiny, plans | {"coarse": plans["denoiser"]})
    other = json.loads(plans["coarse"])
    other["tensors"]["x"]["shape"][1] = 3
    with pytest.raises(DeviceError, match="the plan of coarse is not of this model"):
        open_plans(tiny, plans | {"coarse": json.dumps(other).encode()})


def test_a_context_that_cannot_be_recorded_is_run_plainly(tiny: Bundle):
    engine = make_engine(tiny, rtx=True, not_capturable=True)
    inputs, outputs = buffers_for(engine, "coarse", coarse_shapes(engine, 1, 32))
    engine.bind("coarse", inputs, outputs)
    assert not engine.capturable


def test_buffers_of_another_type_or_shape_are_refused(tiny: Bundle):
    engine = make_engine(tiny)
    inputs, outputs = buffers_for(engine, "coarse", coarse_shapes(engine, 1, 32))
    with pytest.raises(ValueError, match="x must be float32, not float16"):
        engine.bind("coarse", inputs | {"x": DeviceArray((1, 1, 32, 32), "float16")}, outputs)
    with pytest.raises(ValueError, match="x_cp is"):
        engine.bind("coarse", inputs, {"x_cp": DeviceArray((2, 1, 32, 32))})


def test_the_log_goes_to_the_debug_log(tiny: Bundle, caplog):
    from petrt.engines.tensorrt_log import log_of

    module = make_module()
    with caplog.at_level(logging.DEBUG, "petrt"):
        log_of(module).log(module.ILogger.WARNING, "careful")
        log_of(module).log(module.ILogger.VERBOSE, "chatter")
    assert [record.getMessage() for record in caplog.records] == ["TensorRT: careful"]


@pytest.mark.parametrize("kind", ["tensorrt", "tensorrt-rtx"])
def test_an_absent_tensorrt_names_the_command(kind, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DeviceError) as caught:
        import_tensorrt(kind)
    assert caught.value.hint == install_command(kind)
    assert caught.value.hint == f"pip install 'petrt[{kind}]'"


def test_every_call_of_the_fake_exists_in_the_real_bindings(tensorrt_folder):
    names = {
        cls.__name__: sorted(set(_public(cls)) - fake_tensorrt.NOT_THERE)
        for cls in fake_tensorrt.CLASSES
    }
    code = (
        "import json, sys, tensorrt_bindings as trt\n"
        f"names = json.loads({json.dumps(json.dumps(names))})\n"
        "print(json.dumps([f'{c}.{n}' for c, ns in names.items() for n in ns"
        " if not hasattr(getattr(trt, c), n)]))"
    )
    done = run_with_tensorrt(tensorrt_folder, "-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    assert sum(map(len, names.values())) > 20


def _public(cls: type) -> list[str]:
    members = getattr(cls, "__members__", None) or vars(cls)
    return [name for name in members if not name.startswith("_")]


def test_the_real_runtime_refuses_what_is_no_plan(tensorrt_folder):
    code = (
        "import tensorrt_bindings as trt\n"
        "from petrt.engines.tensorrt_log import Errors, log_of\n"
        "errors = Errors(trt)\n"
        "runtime = trt.Runtime(log_of(trt))\n"
        "runtime.error_recorder = errors.recorder\n"
        "assert runtime.deserialize_cuda_engine(b'no plan' * 100) is None\n"
        "assert errors and not errors.out_of_memory\n"
        "print(errors.take())\n"
        "assert not errors"
    )
    done = run_with_tensorrt(tensorrt_folder, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "erialization" in done.stdout
