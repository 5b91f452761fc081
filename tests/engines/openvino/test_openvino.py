"""The OpenVINO engine: same values as ONNX Runtime, precision never silent, models kept, nothing sent."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.openvino import cache as openvino_cache
from petrt.engines.openvino.engine import OpenVINOEngine
from petrt.engines.select import choose
from petrt.errors import DeviceError, InputError, UsageError
from petrt.export.graphs.check import relative_error
from petrt.hardware import cpu, packages
from petrt.model.bundle import GRAPHS, Bundle, load_bundle
from tests.engines.golden import forward, golden_inputs, worst_error

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.fixture
def no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "isa", lambda: ["avx2"])


@pytest.fixture
def claims_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that says it has bfloat16, for what is decided before OpenVINO compiles."""
    monkeypatch.setattr(cpu, "isa", lambda: ["avx2", "avx512f", "avx512_bf16"])


@pytest.mark.parametrize("model", ["tiny", "demo"])
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_values_are_those_of_onnx_runtime(tiny: Bundle, model, threads):
    """Relative to the largest value; measured: 7e-7 on the demo."""
    bundle = tiny if model == "tiny" else load_bundle(model)
    engine = OpenVINOEngine(bundle, precision="fp32", threads=threads)
    assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "fp32")
    assert worst_error(bundle, engine) < 5e-6


def test_results_do_not_depend_on_threads_or_streams(tiny: Bundle):
    inputs = golden_inputs(tiny, "denoiser")
    one = forward(OpenVINOEngine(tiny, precision="fp32"), "denoiser", inputs)
    for options in ({"threads": 2}, {"streams": 1}, {"threads": 2, "streams": 2}):
        other = forward(OpenVINOEngine(tiny, precision="fp32", **options), "denoiser", inputs)
        np.testing.assert_array_equal(other["eps"], one["eps"])


def test_the_bits_do_not_depend_on_the_batch(tiny: Bundle):
    engine = OpenVINOEngine(tiny, precision="fp32")
    dims = engine.tensors("denoiser")[0]
    four = random_inputs(dims, {"slices": 1, "images": 4, "height": 24, "width": 16})
    expected = forward(engine, "denoiser", four)["eps"]
    for images in (1, 3):
        found = forward(engine, "denoiser", {**four, "r": four["r"][:images]})["eps"]
        np.testing.assert_array_equal(found, expected[:images])


def test_batches_and_sizes_change(tiny: Bundle):
    """Each shape is compiled of its own, once, and its values are those of ONNX Runtime."""
    engine, reference = OpenVINOEngine(tiny, precision="fp32"), OnnxRuntimeEngine(tiny)
    dims = engine.tensors("coarse")[0]
    for slices, height, width in ((1, 16, 16), (3, 16, 16), (1, 24, 16), (1, 16, 16)):
        inputs = random_inputs(dims, {"slices": slices, "height": height, "width": width})
        expected = forward(reference, "coarse", inputs)["x_cp"]
        found = forward(engine, "coarse", inputs)["x_cp"]
        assert found.shape == (slices, 1, height, width)
        assert relative_error(found, expected) < 5e-6
    assert len(engine._compiled) == 3


def random_inputs(dims: dict[str, list], sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Values for tensors of these named dimensions ("height/2")."""
    rng = np.random.default_rng(0)

    def size(dim) -> int:
        name, _, over = str(dim).partition("/")
        return dim if isinstance(dim, int) else sizes[name] // int(over or 1)

    return {
        name: rng.standard_normal([size(dim) for dim in each], np.float32)
        for name, each in dims.items()
    }


def test_two_workers_at_once_get_what_one_gets(tiny: Bundle):
    engine = OpenVINOEngine(tiny, precision="fp32", streams=2)
    base = golden_inputs(tiny, "denoiser")
    inputs = [{**base, "r": base["r"] * (k + 1)} for k in range(2)]
    expected = [forward(engine, "denoiser", each)["eps"] for each in inputs]
    outputs = [{"eps": np.full_like(e, np.nan)} for e in expected]
    runs = [engine.bind("denoiser", i, o) for i, o in zip(inputs, outputs, strict=True)]
    started, wrong = threading.Barrier(2), []

    def work(k: int) -> None:
        started.wait()
        for _ in range(20):
            outputs[k]["eps"].fill(np.nan)
            runs[k]()
            if not np.array_equal(outputs[k]["eps"], expected[k]):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert not np.array_equal(expected[0], expected[1])


def test_compiled_as_asked(tiny: Bundle):
    """Streams for as many calls as the cores allow, threads inside each, and no thread pinned."""
    before = os.sched_getaffinity(0)
    engine = OpenVINOEngine(tiny, precision="fp32", threads=1)
    forward(engine, "coarse", golden_inputs(tiny, "coarse"))
    compiled = next(iter(engine._compiled.values()))
    assert engine.streams == cpu.default_threads()
    assert compiled.get_property("NUM_STREAMS") == engine.streams
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert {frozenset(os.sched_getaffinity(int(t))) for t in os.listdir("/proc/self/task")} == {
        frozenset(before)
    }


def test_bf16_is_refused_where_the_cpu_lacks_it(tiny: Bundle, no_bf16):
    with pytest.raises(UsageError, match="this CPU does not compute in bf16; choose fp32"):
        OpenVINOEngine(tiny, precision="bf16")
    assert OpenVINOEngine(tiny).precision == "fp32"
    with pytest.raises(DeviceError, match="does not compute in bf16; choose fp32"):
        choose(tiny, "openvino", "cpu", "bf16")


def test_bf16_is_the_default_where_the_cpu_has_it(tiny: Bundle, claims_bf16):
    assert OpenVINOEngine(tiny).precision == "bf16"
    assert choose(tiny, "openvino", "cpu").engine.precision == "bf16"
    assert choose(tiny, "openvino", "cpu", "fp32").engine.precision == "fp32"


def test_auto_never_lowers_the_precision(tiny: Bundle, claims_bf16, monkeypatch):
    monkeypatch.setattr("petrt.engines.select.ON_CPU", ("openvino",))
    engine = choose(tiny, device="cpu").engine
    assert (engine.name, engine.precision) == ("openvino", "fp32")


def test_a_precision_that_openvino_changed_is_an_error(tiny: Bundle, monkeypatch):
    """It takes hints: what it made of them is asked."""
    bf16 = types.SimpleNamespace(get_type_name=lambda: "bf16")
    compiled = types.SimpleNamespace(get_property=lambda name: bf16)
    monkeypatch.setattr("petrt.engines.openvino.engine.compile_cached", lambda *arguments: compiled)
    engine = OpenVINOEngine(tiny, precision="fp32")
    with pytest.raises(DeviceError, match=r"compiled coarse\.onnx in bf16, not in f32"):
        forward(engine, "coarse", golden_inputs(tiny, "coarse"))


def test_a_broken_graph_is_told(tiny: Bundle):
    data = tiny.files["denoiser.onnx"]
    for broken, says in (
        (data.replace(b"Sigmoid", b"Sigmoit"), r"OpenVINO .* refuses denoiser\.onnx: .*; export"),
        (data[:2000], r"denoiser\.onnx is not an ONNX model"),
    ):
        with pytest.raises(InputError, match=says):
            OpenVINOEngine(replace(tiny, files={**tiny.files, "denoiser.onnx": broken}))


def test_memory_of_compiled_graphs_is_told(tiny: Bundle):
    """ONNX is read when the engine is opened, and compiled when its graphs are bound."""
    weights = sum(len(tiny.onnx(graph) or b"") for graph in GRAPHS)
    assert OpenVINOEngine(tiny).binding_bytes > weights
    assert OnnxRuntimeEngine(tiny).binding_bytes == 0


def test_compiled_models_are_kept_and_read(tiny: Bundle, private_cache: Path):
    inputs = golden_inputs(tiny, "coarse")
    first = OpenVINOEngine(tiny, precision="fp32")
    expected = forward(first, "coarse", inputs)["x_cp"]
    folder = private_cache / "openvino"
    assert folder.stat().st_mode & 0o777 == 0o700
    blobs = {path: path.read_bytes() for path in folder.glob("*.blob")}
    assert len(blobs) == 1
    second = OpenVINOEngine(tiny, precision="fp32")
    np.testing.assert_array_equal(forward(second, "coarse", inputs)["x_cp"], expected)
    assert from_cache(second)
    assert not from_cache(first)
    assert {path: path.read_bytes() for path in folder.glob("*.blob")} == blobs


def from_cache(engine: OpenVINOEngine) -> bool:
    return next(iter(engine._compiled.values())).get_property("LOADED_FROM_CACHE")


def test_a_damaged_model_is_compiled_again(tiny: Bundle, private_cache: Path):
    inputs = golden_inputs(tiny, "coarse")
    expected = forward(OpenVINOEngine(tiny, precision="fp32"), "coarse", inputs)["x_cp"]
    (blob_file,) = (private_cache / "openvino").glob("*.blob")
    blob_file.chmod(0o600)
    blob_file.write_bytes(blob_file.read_bytes()[:1000])
    found = forward(OpenVINOEngine(tiny, precision="fp32"), "coarse", inputs)["x_cp"]
    np.testing.assert_array_equal(found, expected)


def test_old_models_make_room(tiny: Bundle, private_cache: Path, monkeypatch):
    monkeypatch.setattr(openvino_cache, "MAX_BYTES", 1)
    engine = OpenVINOEngine(tiny, precision="fp32")
    for graph in ("coarse", "denoiser"):
        forward(engine, graph, golden_inputs(tiny, graph))
    assert len(list((private_cache / "openvino").glob("*.blob"))) == 1


def test_an_unusable_folder_is_told_once(tiny: Bundle, private_cache: Path, caplog):
    private_cache.mkdir(parents=True)
    private_cache.chmod(0o755)
    engine = OpenVINOEngine(tiny, precision="fp32")
    with caplog.at_level(logging.INFO, "petrt"):
        for graph in ("coarse", "denoiser"):
            forward(engine, graph, golden_inputs(tiny, graph))
    told = [m for m in caplog.messages if m.startswith("compiled OpenVINO models cannot be cached")]
    assert len(told) == 1
    assert "chmod 700" in told[0]
    assert not (private_cache / "openvino").exists()


def test_a_missing_package_is_told_with_its_command(tiny: Bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError, match=r"needs OpenVINO; pip install 'petrt\[openvino\]'"):
        OpenVINOEngine(tiny)
    monkeypatch.setattr(packages, "openvino", lambda: None)
    with pytest.raises(DeviceError, match=r"OpenVINO is not installed; pip install 'petrt\[open"):
        choose(tiny, "openvino", "cpu")


SILENT = """
import socket, sys
def refuse(*args, **kwargs):
    print("sent", args)
    raise OSError
socket.socket.connect = socket.getaddrinfo = refuse
from petrt.model.bundle import load_bundle
from petrt.engines.openvino.engine import OpenVINOEngine
OpenVINOEngine(load_bundle(sys.argv[1]))
print([name for name in sys.modules if "telemetry" in name], "openvino.tools.ovc" in sys.modules)
"""


def test_no_statistics_are_sent(tiny_bundle: Path):
    """OpenVINO's model converter reports its import over the network; it is not imported."""
    command = [sys.executable, "-c", SILENT, str(tiny_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"
