"""The TensorRT engine: same values as ONNX Runtime, the right calls in the right order, plain errors."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pytest

from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.tensorrt.engine import TensorRTEngine, import_tensorrt, install_command
from petrt.engines.tensorrt.runtime_cache import KernelMemory
from petrt.errors import DeviceError, OutOfDeviceMemory
from petrt.inference.forward import wire
from petrt.model.bundle import GRAPHS, Bundle
from tests.engines.tensorrt import fake_tensorrt
from tests.engines.tensorrt.fake_tensorrt import DeviceArray, Stream, make_module, make_plan

pytestmark = pytest.mark.usefixtures("fake_cuda")


def make_engine(bundle: Bundle, *, rtx: bool = False, **faults: Any) -> TensorRTEngine:
    plans = {g: make_plan(m, **faults) for g in GRAPHS if (m := bundle.onnx(g)) is not None}
    return open_plans(bundle, plans, rtx=rtx)


def open_plans(
    bundle: Bundle,
    plans: dict[str, bytes],
    *,
    rtx: bool = False,
    kernels: KernelMemory | None = None,
) -> TensorRTEngine:
    return TensorRTEngine(
        bundle,
        plans,
        kind="tensorrt-rtx" if rtx else "tensorrt",
        precision="fp32",
        stream=Stream(),
        trt=make_module(rtx=rtx),
        kernels=kernels,
    )


def buffers_for(engine: TensorRTEngine, graph: str, shape: dict[str, tuple[int, ...]]):
    inputs = {name: DeviceArray(size) for name, size in shape.items()}
    made = engine.output_shapes(graph, shape)
    return inputs, {name: DeviceArray(size) for name, size in made.items()}


def coarse_shapes(engine: TensorRTEngine, slices: int, size: int) -> dict[str, tuple[int, ...]]:
    x = {"x": (slices, 1, size, size)}
    made = engine.output_shapes("guidance", guides(engine, slices, size))
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
    expected = wire(reference, network, hosts, HostLoop, np.zeros, reference.bind)
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
    assert {engine.batch_range(g) for g in ("guidance", "coarse")} == {(1, 4)}
    assert engine.batch_range("denoiser") == (1, 8)
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


def test_a_slice_size_outside_the_profile_names_both_sizes_and_the_command(tiny):
    engine = make_engine(tiny)
    inputs, outputs = buffers_for(engine, "coarse", coarse_shapes(engine, 2, 96))
    with pytest.raises(DeviceError) as caught:
        engine.bind("coarse", inputs, outputs)
    assert caught.value.message == (
        "the engine takes slices of 16x16 to 64x64 voxels, this volume has 96x96 on the model's grid"
    )
    command = f"petrt build-engine {tiny.source} --size 96x96, or --engine torch"
    assert caught.value.hint == command


def test_an_engine_of_one_size_says_so(tiny):
    fixed = {"slices": 4, "images": 8, "height": 32, "width": 48}
    sizes = {name: (n,) * 3 for name, n in fixed.items()}
    plans = {graph: make_plan(tiny.files[f"{graph}.onnx"], sizes) for graph in GRAPHS}
    engine = open_plans(tiny, plans)
    assert engine.batch_range("coarse") == (4, 4)
    assert engine.batch_range("denoiser") == (8, 8)
    inputs, outputs = buffers_for(engine, "coarse", coarse_shapes(engine, 4, 48))
    with pytest.raises(DeviceError, match="takes slices of 32x48 voxels, this volume has 48x48"):
        engine.bind("coarse", inputs, outputs)


def test_too_many_slices_or_samples_name_the_command(tiny: Bundle):
    engine = make_engine(tiny)
    inputs, outputs = buffers_for(engine, "coarse", coarse_shapes(engine, 5, 32))
    with pytest.raises(DeviceError, match=r"coarse: 5 slices .* 1 to 4; .* --slices 5"):
        engine.bind("coarse", inputs, outputs)
    given = engine.tensors("denoiser")[0].items()
    shapes = {
        name: tuple(d if isinstance(d, int) else _at(d) for d in dims) for name, dims in given
    }
    inputs, outputs = buffers_for(engine, "denoiser", shapes)
    with pytest.raises(DeviceError, match=r"12 images in one .* --slices 2 --samples 6"):
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
    with pytest.raises(DeviceError, match="plan of coarse is not of this model: its inputs"):
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


@pytest.fixture
def compiled(monkeypatch) -> list[str]:
    """Every kernel that was compiled, in order."""
    kernels: list[str] = []
    monkeypatch.setattr(fake_tensorrt.IRuntimeCache, "_compiled", kernels)
    return kernels


def bind_twice(bundle: Bundle, kernels: KernelMemory) -> TensorRTEngine:
    """Two networks of an engine that another process has opened anew."""
    plans = {graph: make_plan(bundle.files[f"{graph}.onnx"]) for graph in GRAPHS}
    engine = open_plans(bundle, plans, rtx=True, kernels=kernels)
    for graph, shapes in (("coarse", coarse_shapes(engine, 1, 32)), ("guidance", guides(engine))):
        engine.bind(graph, *buffers_for(engine, graph, shapes))
    return engine


def guides(engine: TensorRTEngine, slices: int = 1, size: int = 32) -> dict[str, tuple[int, ...]]:
    names = engine.tensors("guidance")[0]
    return {name: (slices, 5 if name == "nas" else 1, size, size) for name in names}


def test_kernels_are_compiled_once_for_all_processes(tiny: Bundle, compiled):
    class Counting(KernelMemory):
        saves = 0

        def save(self, kernels: bytes) -> None:
            self.saves += 1
            super().save(kernels)

    store = Counting()
    bind_twice(tiny, store)
    assert (len(compiled), store.saves) == (2, 2)
    engine = bind_twice(tiny, store)
    assert (len(compiled), store.saves) == (2, 2)  # nothing new, nothing written
    engine.bind("coarse", *buffers_for(engine, "coarse", coarse_shapes(engine, 2, 32)))
    assert (len(compiled), store.saves) == (3, 3)


def test_kernels_of_another_driver_are_compiled_again_and_replaced(
    tiny: Bundle, compiled, monkeypatch, caplog
):
    store = KernelMemory()
    bind_twice(tiny, store)
    monkeypatch.setattr(fake_tensorrt.IRuntimeCache, "_driver", "590.100")
    with caplog.at_level(logging.INFO, "petrt"):
        bind_twice(tiny, store)
    assert len(compiled) == 4
    assert caplog.text.count("compiled kernels are of another driver or GPU") == 1
    bind_twice(tiny, store)
    assert len(compiled) == 4


def test_buffers_of_another_type_or_shape_are_refused(tiny: Bundle):
    engine = make_engine(tiny)
    inputs, outputs = buffers_for(engine, "coarse", coarse_shapes(engine, 1, 32))
    with pytest.raises(ValueError, match="x must be C-contiguous float32"):
        engine.bind("coarse", inputs | {"x": DeviceArray((1, 1, 32, 32), "float16")}, outputs)
    with pytest.raises(ValueError, match="x_cp is"):
        engine.bind("coarse", inputs, {"x_cp": DeviceArray((2, 1, 32, 32))})


@pytest.mark.parametrize("kind", ["tensorrt", "tensorrt-rtx"])
def test_an_absent_tensorrt_names_the_command(kind, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DeviceError) as caught:
        import_tensorrt(kind)
    assert caught.value.hint == install_command(kind)
    assert caught.value.hint == f"pip install 'petrt[{kind}]'"
