"""The GPU sections of the latency benchmark, on the twin: they run and say what they claim to say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from petrt.errors import DeviceError
from tests.inference.cuda.conftest import QueuedEngine
from tests.models import Reconstructor


def test_kernel_cases_run_and_count_their_bytes(cuda):
    from benchmarks.latency import device_parts

    rows = {row["kernel"]: row for row in device_parts.kernels(16, 16, 2, 1e9)}
    voxels = 16 * 16 * 16
    assert rows["normals"]["bytes"] == 4 * voxels
    assert rows["reverse_step"]["bytes"] == 6 * 4 * voxels
    assert rows["stack_slices"]["bytes"] == 7 * 4 * voxels
    assert rows["log_spectrum"]["bytes"] == 16 * 16 * 16 * 9 + 4 * voxels
    assert rows["average"]["bytes"] == 4 * (voxels + 6 * voxels // 8)
    for row in rows.values():
        rate = row["bytes"] / row["median_s"] / 1e9
        assert row["of_copy_bandwidth"] == pytest.approx(rate, rel=0.01, abs=1e-3)


@pytest.mark.parametrize("capturable", [True, False])
def test_loop_is_timed_with_and_without_networks(engine, bundle, capturable):
    from benchmarks.latency import device_parts

    engine.capturable = capturable
    reconstructor = Reconstructor(bundle, engine=engine, preset="paper", samples=1)
    loop = device_parts.loop_seconds(reconstructor, 3, 2, 16, 2)
    ways = ("graph", "plain") if capturable else ("plain",)
    for way in ways:
        assert loop[way]["median_s"] >= loop[f"{way}_empty"]["median_s"]
    assert 0 < loop["loop_share"] < 1
    assert ("graph" in loop) == ("plain_over_graph" in loop) == capturable


def test_the_loop_of_a_model_that_takes_the_dose_is_told_one(cuda, dose_bundle):
    from benchmarks.latency import device_parts
    from petrt.model.bundle import load_bundle

    engine = QueuedEngine(load_bundle(dose_bundle), cuda)
    told = {}
    bind = engine.bind

    def spy(graph, inputs, outputs):
        told.update({name: array for name, array in inputs.items() if name == "dose"})
        return bind(graph, inputs, outputs)

    engine.bind = spy
    reconstructor = Reconstructor(dose_bundle, engine=engine, preset="paper", samples=1)
    bound = device_parts.BoundLoop(reconstructor, 3, 1, 16)
    bound.plain()
    bound.stream.synchronize()
    np.testing.assert_array_equal(told["dose"].host, np.full(3, 0.05, np.float32))
    assert device_parts.loop_seconds(reconstructor, 3, 1, 16, 2)["networks_s"] > 0


@pytest.fixture
def small(cuda, monkeypatch, tmp_path):
    """latency.main on the twin: its options in, exit code and result out."""
    from benchmarks.gpu import stand_in
    from benchmarks.latency import kernel_table
    from benchmarks.latency import run as latency
    from petrt.engines import select

    usual = select.select_engine

    def select_engine(bundle, engine="auto", device="auto", precision=None):
        if not device.startswith("cuda"):
            return usual(bundle, engine, device, precision)
        if engine != "torch":
            raise DeviceError(f"no {engine} here", "petrt doctor")
        return QueuedEngine(bundle, cuda)

    monkeypatch.setattr(select, "select_engine", select_engine)
    monkeypatch.setattr(stand_in, "install", lambda: None)
    monkeypatch.setattr(kernel_table, "traced", stand_in._traced)
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    out = tmp_path / "out.json"

    def run(*options: str) -> tuple[int, dict]:
        everywhere = ("--small", "--slices", "4", "--repeats", "2", "--out", str(out))
        code = latency.main([*everywhere, "--bundles", str(tmp_path), *options])
        return code, json.loads(out.read_text())

    return run


@pytest.mark.slow
def test_a_whole_run_with_what_needs_a_real_gpu_named_as_failed(small, monkeypatch):
    from benchmarks.latency import kernel_table

    def no_profiler(*arguments, **options):
        raise RuntimeError("no CUPTI")

    monkeypatch.setattr(kernel_table, "traced", no_profiler)
    code, result = small()
    # PyTorch has no GPU here: what runs on its side alone cannot.
    assert code == 1
    assert set(result["failed"]) == {"eager", "compiled", "peaks", "profile"}
    assert result["volume"]["run"]["torch"]["batch"] == [4, 1]
    assert result["volume"]["absent"]["onnxruntime"] == "no onnxruntime here; petrt doctor"
    outside = result["outside"]
    assert outside["loop"]["batch"] == [4, 1]
    assert np.isclose(
        outside["share"], 1 - outside["networks_s"] / outside["pipeline_s"], atol=1e-3
    )
    verdicts = {row["what"]: row["verdict"] for row in result["rows"]}
    assert verdicts["agreement with the CPU, fp32"] == "met"
    assert verdicts["against the unfolded eager loop, batch 1"].startswith("not measured: ")
    assert result["running"] is None


def test_both_sides_of_a_comparison_get_the_same_planes(small, monkeypatch):
    from benchmarks.latency import gpu_sections
    from petrt.inference.pipeline import Pipeline

    seen = {"petrt": [], "baseline": []}
    usual = Pipeline.run

    class Loop:
        def __init__(self, subject, device, **options):
            self.batch = options.get("batch", 1)

        def __call__(self, planes):
            seen["baseline"].append(planes)
            return planes

    def run(self, volume, *arguments, **options):
        seen["petrt"].append(volume)
        return usual(self, volume, *arguments, **options)

    monkeypatch.setattr(gpu_sections, "Unfolded", Loop)
    monkeypatch.setattr(Pipeline, "run", run)
    code, result = small("--sections", "compiled", "eager", "--batches", "4", "2", "3")
    assert code == 0
    found = result["compiled"]
    assert set(found["batches"]) == {"4", "2"}  # 3 does not divide the slices
    whole = [planes for planes in seen["petrt"] if planes.shape == seen["baseline"][0].shape]
    assert any(np.array_equal(planes, seen["baseline"][0]) for planes in whole)
    assert seen["baseline"][0].max() == 1
    # Before the baseline and beside it, and the ratio is that of the pipeline, not of the volume.
    assert found["pipeline"]["repeats"] == 2 * found["before"]["pipeline"]["repeats"] == 4
    assert found["drift"] == pytest.approx(
        found["after"]["pipeline"]["median_s"] / found["before"]["pipeline"]["median_s"], rel=1e-3
    )
    best = found["batches"][str(found["best_batch"])]["median_s"]
    assert found["times_faster"] == pytest.approx(
        best / found["pipeline"]["median_s"], rel=0.05, abs=1e-3
    )
    assert found["same_image_after"] is True
    assert {"pipeline", "volume"} <= set(result["eager"])


def test_the_cpu_computes_some_of_the_slices_that_a_gpu_computes(small, monkeypatch):
    from benchmarks.latency import gpu_agreement

    monkeypatch.setattr(gpu_agreement, "COMPARED", 2)
    code, result = small("--sections", "agreement", "agreement_demo")
    assert code == 0
    for section in ("agreement", "agreement_demo"):
        for entry in result[section].values():
            assert (entry["slices"], entry["compared"]) == (4, 2)
            assert entry["psnr_db"] is None or entry["psnr_db"] > 100
            assert entry["drawn_db"] is None or entry["drawn_db"] > 100
            assert entry["same_bits"] is True


def test_an_engine_that_is_off_in_a_compared_slice_does_not_agree(small, monkeypatch):
    from benchmarks.latency import gpu_agreement

    usual = gpu_agreement.through

    def off(reconstructor, planes, noise=None, every=1):
        mean, *rest = usual(reconstructor, planes, noise, every)
        if reconstructor.engine.stream is not None:
            mean = mean.copy()
            mean[2] *= 0.9
        return mean, *rest

    monkeypatch.setattr(gpu_agreement, "through", off)
    _, result = small("--sections", "agreement")
    assert all(entry["psnr_db"] < 45 for entry in result["agreement"].values())
    verdicts = {row["what"]: row["verdict"] for row in result["rows"]}
    assert verdicts["agreement with the CPU, bf16"] == "missed"


def test_variants_are_timed_against_the_usual_and_agree_with_it(small):
    code, result = small("--sections", "upsample_transposed", "batches_of_32")
    assert code == 0
    transposed, batches = result["upsample_transposed"], result["batches_of_32"]
    assert transposed["psnr_db"] is None or transposed["psnr_db"] > 100  # an exact fold
    assert batches["run"]["usual"]["batch"] == [4, 1]
    assert batches["run"]["changed"]["batch"] == [2, 1]
    for each in (transposed, batches):
        ratio = each["usual"]["median_s"] / each["changed"]["median_s"]
        assert each["times_faster"] == pytest.approx(ratio, rel=1e-2)


def test_another_process_goes_on_where_one_ended(small, tmp_path, monkeypatch):
    from benchmarks.latency import run as latency

    def ended(bench):
        raise KeyboardInterrupt

    def fine(bench):
        return {"ratio": 5.0}

    ended.__name__, fine.__name__ = "volume", "ams"
    monkeypatch.setattr(latency, "ON_GPU", (ended, fine))
    with pytest.raises(KeyboardInterrupt):
        small()
    assert json.loads((tmp_path / "out.json").read_text())["running"] == "volume"
    code, result = small("--resume")
    assert code == 1
    assert result["failed"] == {"volume": "the process ended in it; see the log"}
    assert result["ams"] == {"ratio": 5.0}
    assert result["running"] is None


def test_a_section_that_takes_too_long_is_named_and_the_others_go_on(small, monkeypatch):
    import time

    from benchmarks.latency import run as latency

    def endless(bench):
        while True:
            time.sleep(0.01)

    def fine(bench):
        return {"ratio": 5.0}

    endless.__name__, fine.__name__ = "peaks", "ams"
    monkeypatch.setattr(latency, "ON_GPU", (endless, fine))
    monkeypatch.setitem(latency.LIMITS, "peaks", 0.3)
    code, result = small("--patience", "1")
    assert code == 1
    assert result["failed"] == {"peaks": "TooLong: took longer than 0 s"}
    assert result["ams"] == {"ratio": 5.0}


def test_after_an_error_that_the_gpu_keeps_the_process_ends_for_another_one(small, monkeypatch):
    import os

    from benchmarks.latency import run as latency

    def broken(bench):
        raise RuntimeError("an illegal memory access")

    def never(bench):
        raise AssertionError("measured on a broken GPU")

    class Ended(BaseException):
        pass

    def exit_(code):
        raise Ended(code)

    broken.__name__, never.__name__ = "volume", "ams"
    monkeypatch.setattr(latency, "ON_GPU", (broken, never))
    monkeypatch.setattr(latency, "answers", lambda: False)
    monkeypatch.setattr(os, "_exit", exit_)
    with pytest.raises(Ended) as ended:
        small()
    assert ended.value.args == (latency.BEGIN_AGAIN,)
    monkeypatch.setattr(latency, "answers", lambda: True)
    monkeypatch.setattr(latency, "ON_GPU", (broken,))
    assert small()[0] == 1


def test_the_twin_answers(cuda):
    from benchmarks.latency import run as latency

    assert latency.answers()


def test_a_variant_is_compiled_once_for_all_processes(small, tmp_path, monkeypatch, capsys):
    from benchmarks.latency import compile_networks

    calls = []
    monkeypatch.setitem(compile_networks.VARIANTS, "ams", lambda bench: calls.append(bench.memory))
    options = ["ams", "--dry-run", "--bundles", str(tmp_path)]
    assert compile_networks.main(options) == compile_networks.main(options) == 0
    assert calls == [compile_networks.MEMORY]
    assert "compiled before" in capsys.readouterr().out
    compile_networks.main([*options, "--slices", "6"])  # another shape is another matter
    assert len(calls) == 2


@pytest.mark.parametrize(
    "variant",
    [
        "petrt",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("unfolded", "ams", "fp32")),
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("batches", "transposed")),
        "demo",
    ],
)
def test_every_variant_that_is_compiled_ahead_runs(small, tmp_path, variant):
    from benchmarks.latency import compile_networks

    assert compile_networks.main([variant, "--dry-run", "--bundles", str(tmp_path)]) == 0
