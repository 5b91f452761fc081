"""petrt build-engine --precision int8: built, verified, installed, found again, or refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from petrt.build import int8 as module
from petrt.build import quantize
from petrt.build.int8 import Int8Request, build_int8, make_int8_request
from petrt.build.quantize_ranges import Calibration
from petrt.build.verify import BARS, Limit
from petrt.bundle import GRAPHS, Bundle, load_bundle
from petrt.cli.app import run
from petrt.engines import installed as engines
from petrt.engines.cache import installed, load_graphs
from petrt.engines.record import CpuRecord
from petrt.engines.select import choose
from petrt.errors import DeviceError, UsageError
from petrt.reconstructor import Reconstructor
from tests.models import noisy_blob

# Random weights are not an image worth 0.05 dB: what has to hold for them is only that it is bounded.
LOOSE = Limit(20.0, 50.0, 5.0)


@contextmanager
def silent(label: str, unit: str) -> Iterator[Any]:
    yield lambda done, total: None


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(autouse=True)
def private(monkeypatch, tmp_path) -> Path:
    """A folder of engines of this test's own, and tiny convolutions that are worth it."""
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(quantize, "WORTH", 20.0)
    return tmp_path / "cache" / "engines"


@pytest.fixture
def loose(monkeypatch) -> None:
    """Limits that the tiny networks reach."""
    monkeypatch.setitem(BARS, "int8", LOOSE)


@pytest.fixture
def request_here(tiny) -> Int8Request:
    return replace(make_int8_request(tiny), limit=LOOSE)


def test_what_is_built_is_verified_recorded_and_runs(tiny, request_here, caplog):
    with caplog.at_level(logging.INFO, "petrt"):
        entry = build_int8(request_here, bar=silent)
    assert installed() == ([entry], [])
    record = entry.record
    assert (record.engine, record.precision, record.gpu, record.profile) == (
        "onnxruntime", "int8", None, None,
    )  # fmt: skip
    assert record.cpu == engines.cpu_here()
    assert record.quantized.bits == quantize.weight_bits(record.cpu.isa)
    assert record.quantized.calibration == "simulated"
    assert min(record.quantized.layers.values()) > 0
    assert record.verified.psnr_db >= LOOSE.psnr_db
    assert abs(record.verified.loss_db) <= LOOSE.loss_db
    assert "8 samples" in record.verified.volume
    graphs = load_graphs(entry, tiny)
    for graph in GRAPHS:
        kinds = {node.op_type for node in onnx.load_model_from_string(graphs[graph]).graph.node}
        assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= kinds
    chosen = choose(tiny, "onnxruntime", "cpu", "int8")
    assert (chosen.engine.name, chosen.engine.precision) == ("onnxruntime", "int8")
    assert "int8, installed and verified on the CPU" in chosen.reason
    volume = noisy_blob((32, 32, 3))
    exact = Reconstructor(tiny, engine="onnxruntime")(volume).image
    found = Reconstructor(tiny, engine="onnxruntime", precision="int8")(volume)
    assert found.stats["engine"]["precision"] == "int8"
    assert 0 < np.abs(found.image - exact).max() < 0.5 * exact.max()


def test_int8_is_taken_only_where_it_is_asked_for(tiny, request_here):
    for name in ("auto", "onnxruntime"):
        with pytest.raises(DeviceError, match="no int8 engine of ONNX Runtime") as caught:
            choose(tiny, name, "cpu", "int8")
        command = f"petrt build-engine {tiny.source} --precision int8 --engine onnxruntime"
        assert caught.value.hint == command
    build_int8(request_here, bar=silent)
    assert choose(tiny, "auto", "cpu").engine.precision == "fp32"
    assert choose(tiny, "onnxruntime", "cpu").engine.precision == "fp32"
    asked = choose(tiny, "auto", "cpu", "int8").engine
    assert (asked.name, asked.precision) == ("onnxruntime", "int8")
    for name in ("native", "torch"):
        with pytest.raises(DeviceError, match="does not run int8"):
            choose(tiny, name, "cpu", "int8")


def test_what_fits_is_kept_and_force_builds_the_same_bytes_again(request_here, caplog):
    first = build_int8(request_here, bar=silent)
    with caplog.at_level(logging.INFO, "petrt"):
        assert build_int8(request_here, bar=silent) == first
        assert "is installed already" in caplog.text
        second = build_int8(request_here, force=True, bar=silent)
    assert "as asked (--force)" in caplog.text
    assert installed() == ([second], [])
    assert second.record.files == first.record.files


@pytest.mark.parametrize(
    ("limit", "figure"),
    [
        (Limit(300.0, 50.0, 5.0), r"PSNR [\d.]+ dB \(at least 303 dB\)"),
        (Limit(20.0, 50.0, -30.0), r"PSNR against the full dose falls by .* dB \(at most -15 dB\)"),
    ],
)
def test_a_missed_bound_is_named_and_nothing_is_installed(request_here, limit, figure, monkeypatch):
    monkeypatch.setattr(module, "ROUNDS", 3)
    with pytest.raises(DeviceError, match=f"no int8 for 'tiny', .* in float32: {figure}") as caught:
        build_int8(replace(request_here, limit=limit), bar=silent)
    assert caught.value.exit_code == 4
    assert installed() == ([], [])


def test_the_worst_layers_are_kept_until_the_bound_holds(tiny, request_here, monkeypatch):
    """Ranges that hold hardly anything for one layer: it is found, and only it stays float32."""
    original = Calibration.ranges
    bad = next(c for c in reversed(quantize.convolutions(tiny.onnx("coarse"), "coarse")) if c.worth)

    def spoilt(self, bundle, step):
        ranges = original(self, bundle, step)
        ranges["coarse"][bad.result] = quantize.Range(0.0, 1e-4)
        return ranges

    monkeypatch.setattr(Calibration, "ranges", spoilt)
    kept = build_int8(request_here, bar=silent).record.quantized.kept
    assert f"coarse/{bad.name}" in kept
    assert len(kept) <= 3


def test_a_wrong_engine_is_refused_by_its_own_images(request_here, monkeypatch):
    """The search runs on ONNX Runtime; what counts is the engine that will run."""
    original = engines.quantized_engine

    def wrong(bundle, kind, graphs, threads=1):
        engine = original(bundle, kind, graphs, threads)
        bind = engine.bind

        def shifted(graph, inputs, outputs):
            run = bind(graph, inputs, outputs)

            def both() -> None:
                run()
                if graph == "denoiser":
                    outputs["eps"] += 10.0

            return both

        engine.bind = shifted
        return engine

    monkeypatch.setattr(module, "quantized_engine", wrong)
    monkeypatch.setattr(module, "ROUNDS", 1)
    with pytest.raises(DeviceError, match=r"no int8 for 'tiny'.*(PSNR|maximum)"):
        build_int8(request_here, bar=silent)
    assert installed() == ([], [])


def test_a_model_of_thin_convolutions_alone_is_refused(request_here, monkeypatch):
    monkeypatch.setattr(quantize, "WORTH", 1e9)
    with pytest.raises(DeviceError, match="has no convolution that 8 bit would speed up"):
        build_int8(request_here, bar=silent)


def test_damage_is_refused_at_load_with_the_command(tiny, request_here):
    entry = build_int8(request_here, bar=silent)
    path = entry.folder / "coarse.onnx"
    data = path.read_bytes()
    path.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    with pytest.raises(DeviceError, match=r"coarse\.onnx was altered") as caught:
        choose(tiny, "onnxruntime", "cpu", "int8")
    assert "--precision int8 --engine onnxruntime" in caught.value.hint
    again = build_int8(request_here, bar=silent)
    assert load_graphs(again, tiny)["coarse"] == data


def test_another_cpu_another_version_and_other_volumes_are_reasons(
    tiny, request_here, monkeypatch, tmp_path
):
    build_int8(request_here, bar=silent)
    here = engines.cpu_here()
    path = tmp_path / "volume.nii"
    path.write_bytes(b"volume")
    for changed, reason in (
        (replace(request_here, version="0.9"), "ONNX Runtime 1.* -> 0.9"),
        (replace(request_here, calibration=Calibration((path,))),
         "calibration simulated -> simulated and 1 given, sha256 "),
    ):  # fmt: skip
        entry, found = module.look_up(changed)
        assert entry is None
        assert np.char.startswith(found, reason.split("*")[0])
    other = CpuRecord(name="other", isa=(*here.isa, "avx512_vnni"))
    monkeypatch.setattr(engines, "cpu_here", lambda: other)
    with pytest.raises(DeviceError, match=f"built for another CPU: {here}, this one is {other}"):
        choose(tiny, "onnxruntime", "cpu", "int8")
    renamed = here.model_copy(update={"name": "the same, called otherwise"})
    monkeypatch.setattr(engines, "cpu_here", lambda: renamed)
    assert choose(tiny, "onnxruntime", "cpu", "int8").engine.precision == "int8"


@pytest.mark.usefixtures("loose")
def test_the_command_builds_keeps_lists_and_runs(tiny_bundle, tmp_path, capsys):
    import nibabel

    options = ["build-engine", str(tiny_bundle), "--precision", "int8"]
    assert run([*options, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("would build tiny, ONNX Runtime 1.")
    assert said.endswith(": none is installed\n")
    assert run(options) == 0
    entry = installed()[0][0]
    assert capsys.readouterr().out == f"{entry.folder}\n"
    assert run([*options, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("installed: tiny, ONNX Runtime")
    assert run(["build-engine", "--list"]) == 0
    text = capsys.readouterr().out
    for word in ("tiny", "ONNX Runtime", "int8", engines.cpu_here().isa[0], "in float32"):
        assert word in text
    source, target, told = (tmp_path / name for name in ("in.nii", "out.nii", "out.json"))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(noisy_blob((32, 32, 3)), affine), source)
    command = ["reconstruct", str(source), str(target), "--model", str(tiny_bundle)]
    assert run([*command, "--device", "cpu", "--precision", "int8", "--json", str(told)]) == 0
    assert json.loads(told.read_text())["engine"]["precision"] == "int8"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--gpu", "cuda:0"], 2, "--gpu is for TensorRT, int8 runs on the CPU; drop it"),
        (["--slices", "1,2,3"], 2, "--slices is for TensorRT"),
        (["--samples", "1,2,3"], 2, "--samples is for TensorRT"),
        (["--size", "32x32"], 2, "--size is for TensorRT"),
        (["--workspace", "1"], 2, "--workspace is for TensorRT"),
        (["--compatible", "same-cc"], 2, "--compatible is for TensorRT"),
        (["--engine", "tensorrt"], 2, "no int8 with the engine 'tensorrt'; choose auto, onnxruntime"),
        (["--calibration", "absent.nii"], 2, "cannot read absent.nii"),
    ],
)  # fmt: skip
def test_errors_are_one_line_with_the_exit_code(options, code, message, capsys):
    assert run(["build-engine", "demo", "--precision", "int8", *options]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"petrt: error: {message}")


def test_calibration_is_for_int8_alone(capsys):
    assert run(["build-engine", "demo", "--calibration", "volume.nii"]) == 2
    assert "--calibration is for --precision int8" in capsys.readouterr().err


def test_an_engine_that_is_not_installed_is_told(tiny, monkeypatch):
    from petrt.engines import candidates

    missing = candidates.Missing("openvino", "OpenVINO is not installed", "pip install it")
    monkeypatch.setattr(candidates, "_part", lambda name, device: missing)
    with pytest.raises(DeviceError, match="OpenVINO is not installed; pip install it"):
        make_int8_request(tiny, "openvino")
    with pytest.raises(UsageError, match="no int8 with the engine 'native'"):
        make_int8_request(tiny, "native")


def test_openvino_runs_its_own_quantized_networks(tiny):
    pytest.importorskip("openvino")
    request = replace(make_int8_request(tiny, "openvino"), limit=LOOSE)
    entry = build_int8(request, bar=silent)
    assert (entry.record.engine, entry.record.engine_version) == ("openvino", request.version)
    assert choose(tiny, "openvino", "cpu", "int8").engine.precision == "int8"
    assert (
        choose(tiny, "auto", "cpu", "int8").engine.name == "openvino"
    )  # the one that is installed


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_demo_model_reaches_the_bound(engine, monkeypatch):
    if engine == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setattr(quantize, "WORTH", 64.0)
    record = build_int8(make_int8_request(load_bundle("demo"), engine), bar=silent).record
    limit = BARS["int8"]
    assert record.verified.psnr_db >= limit.psnr_db
    assert record.verified.loss_db <= limit.loss_db
    assert sum(record.quantized.layers.values()) > 10 * len(record.quantized.kept)
