"""The latency benchmark end to end on a CPU, and its baseline against the runtime."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
# Small sums on many threads take longer than on one, above all where other tests run beside.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SECTIONS = ("peaks", "volume", "fast", "start", "scales", "memory")
SMALL = ("--small", "--device", "cpu", "--repeats", "1", "--slices", "4")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[dict, str, Path]:
    """Result, table and file of a small run on the CPU."""
    out = tmp_path_factory.mktemp("latency") / "out.json"
    text = python("-m", "benchmarks.latency", *SMALL, "--sections", *SECTIONS, "--out", str(out))
    return json.loads(out.read_text()), text, out


@pytest.mark.slow
def test_every_section_of_a_cpu_leaves_numbers(run):
    result, text, out = run
    assert result["failed"] == result["skipped"] == {}
    assert set(SECTIONS) <= set(result)
    volume = result["volume"]
    assert {"native fp32", "onnxruntime fp32", "torch fp32"} <= set(volume["engines"])
    for entry in volume["engines"].values():
        assert entry["floor"]["times_floor"] > 0
        assert {"guides", "guidance", "coarse", "denoiser", "loop"} <= set(entry["stages"])
    assert not set(volume["engines"]) & {each["name"] for each in volume["absent"]}
    eager = volume["baselines"]["eager"]
    assert eager["slices_measured"] == 2
    assert eager["volume_s"] == pytest.approx(2 * eager["median_s"], rel=1e-3)
    assert set(volume["baselines"]) == {"eager", "onnxruntime loop"}
    assert result["fast"]["fast"]["samples"] == 2
    assert set(result["scales"]) > {"slices", "samples", "steps", "pixels", "threads"}
    assert all(entry["peak_MiB"] > 0 for entry in result["memory"].values())
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert out.with_suffix(".md").read_text().strip() in text


@pytest.mark.slow
def test_table_has_a_row_and_a_verdict_for_each_bar_of_a_cpu(run):
    result, text, _ = run
    assert len(result["rows"]) == 7
    for row in result["rows"]:
        assert row["verdict"] in ("met", "missed")
        assert f"| {row['what']} | {row['bar']} |" in text
        assert row["note"] in text
    by_what = {row["what"]: row for row in result["rows"]}
    first = by_what["default engine against the unfolded eager loop"]
    assert re.search(r"(coarse|denoiser|outside) takes [\d.]+ %", first["note"])
    assert "Winograd" in text


@pytest.mark.slow
def test_a_run_goes_on_from_what_was_measured(run, tmp_path, capsys):
    from benchmarks.latency import run as latency

    out = tmp_path / "again.json"
    out.write_text(json.dumps(run[0]))
    arguments = [*SMALL, "--no-compile", "--out", str(out)]
    assert latency.main([*arguments, "--sections", "peaks", "compiled"]) == 0
    result = json.loads(out.read_text())
    assert result["volume"] == run[0]["volume"]
    assert result["peaks"] != run[0]["peaks"]
    assert result["skipped"] == {"compiled": "--no-compile"}
    with pytest.raises(SystemExit, match="of another subject"):
        latency.main([*arguments, "--slices", "6", "--sections", "peaks"])


def test_a_run_without_time_says_what_it_left_out(tmp_path, capsys):
    from benchmarks.latency import run as latency

    out = tmp_path / "out.json"
    assert latency.main([*SMALL, "--budget", "-1", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert set(result["skipped"]) == {*SECTIONS, "agreement", "compiled"}
    assert all(row["verdict"].startswith("not measured") for row in result["rows"])
    assert "Left out: scales" in capsys.readouterr().out


@pytest.mark.slow
def test_float32_agrees_on_the_demo_model(tmp_path):
    from benchmarks.latency import run as latency

    out = tmp_path / "out.json"
    assert latency.main([*SMALL, "--sections", "agreement", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["agreement"]["candidates"]
    assert {"native fp32", "onnxruntime fp32"} <= set(found)
    assert found["onnxruntime fp32"]["psnr_db"] is None
    assert found["native fp32"]["psnr_db"] > 100


def cpu_bench(**found):
    from benchmarks.latency import cpu_sections
    from benchmarks.latency import run as latency

    return cpu_sections.CpuBench(latency.parse([*SMALL]), subject=None, found=found)


def test_the_best_engine_is_one_whose_images_are_known_to_be_good():
    seconds = {"native fp32": 3.0, "openvino bf16": 2.0}
    engines = {name: {"volume": {"median_s": value}} for name, value in seconds.items()}

    def best(**levels):
        candidates = {name.replace("_", " "): {"psnr_db": v} for name, v in levels.items()}
        return cpu_bench(volume={"engines": engines}, agreement={"candidates": candidates}).best

    assert cpu_bench(volume={"engines": engines}).best == "native fp32"
    assert best(openvino_bf16=44.0) == "native fp32"
    assert best(openvino_bf16=61.0) == "openvino bf16"
    # What was measured speaks, in float32 too.
    assert best(native_fp32=50.0, openvino_bf16=61.0) == "openvino bf16"


def test_a_section_without_what_it_needs_says_so(monkeypatch):
    from benchmarks.latency import run as latency

    bench = cpu_bench()
    bench.options.sections = ["fast"]
    latency.measure(bench, lambda: None)
    assert bench.skipped == {"fast": "it needs the section volume"}


def test_a_section_that_fails_is_named_and_the_others_go_on(monkeypatch, capsys):
    from benchmarks.latency import gpu_sections
    from benchmarks.latency import run as latency

    def broken(bench):
        raise RuntimeError("no such kernel")

    def works(bench):
        return {"ratio": 5.0}

    works.__name__ = "ams"
    monkeypatch.setattr(latency, "ON_GPU", (broken, works))
    monkeypatch.setattr(latency, "answers", lambda: True)
    options = latency.parse(["--small"])
    bench = gpu_sections.Bench(options, subject=None)
    saved = []
    latency.measure(bench, lambda: saved.append(dict(bench.found)))
    assert bench.failed == {"broken": "RuntimeError: no such kernel"}
    assert bench.found == {"ams": {"ratio": 5.0}}
    assert saved[-1] == {"ams": {"ratio": 5.0}}
    assert len(saved) == 4  # before and after each


def test_verdicts_follow_the_bars_of_a_gpu():
    from benchmarks.latency import gpu_report

    found = {"ams": {"ratio": 6.6}, "eager": {"times_faster": 50.0}}
    rows = {row["what"]: row for row in gpu_report.rows(found, {"peaks": "x"}, {})}
    assert rows["AMS-8 over one sample"]["verdict"] == "missed"
    assert rows["against the unfolded eager loop, batch 1"]["verdict"] == "met"
    assert rows["volume, one sample"]["verdict"] == "not measured: not part of this run"
    dry = gpu_report.rows(found, {}, {}, dry_run=True)
    assert not {row["verdict"] for row in dry} & {"met", "missed"}


def test_verdicts_follow_the_bars_of_a_cpu():
    from benchmarks.latency import cpu_report

    axis = {
        "deviation_percent": {"denoiser": 4.0, "outside": 40.0, "volume": 3.0},
        "fastest_percent": {"denoiser": 1.0, "outside": 30.0, "volume": 2.0},
    }
    bent = {**axis, "deviation_percent": {**axis["deviation_percent"], "denoiser": 5.5}}
    start = {"process_to": {"loaded": {"median_s": 1.0}, "first slice": {"median_s": 2.1}}}
    memory = {"a": {"peak_MiB": 1430, "volume": [128, 128, 128], "samples": 8, "steps": 1}}
    found = {"start": start, "memory": memory, "scales": dict.fromkeys(cpu_report.AXES, axis)}
    rows = {row["what"]: row for row in cpu_report.rows(found, {"fast": "it broke"}, {})}
    assert rows["cold start to first slice, demo model"]["verdict"] == "missed"
    assert rows["peak memory, 8 samples"]["value"] == 1.499
    assert rows["peak memory, 8 samples"]["verdict"] == "met"
    assert rows["preset fast on the best engine"]["verdict"] == "not measured: it broke"
    line = "distance from a line: slices, samples, steps"
    assert (rows[line]["value"], rows[line]["verdict"]) == (4.0, "met")  # "outside" is a remainder
    found["scales"] = {**found["scales"], "steps": bent}
    row = next(row for row in cpu_report.rows(found, {}, {}) if row["what"] == line)
    assert (row["value"], row["verdict"]) == (5.5, "missed")
    assert "over 5 %: steps: denoiser 5.5 %" in row["note"]


def test_what_bounds_a_volume_is_told_with_its_peak():
    from benchmarks.latency import cpu_report

    stages = {
        "coarse": {"median_s": 1.0, "share": 0.1, "peak_share": 0.9},
        "denoiser": {"median_s": 9.0, "share": 0.9, "peak_share": 0.5},
    }
    entry = {"stages": stages, "floor": {"peak_of": "fp32", "floor_s": 5.0}}
    text = cpu_report.bound_by(entry, 20.0)
    for fact in ("denoiser takes 90.0 %", "50.0 % of the fp32 peak", "4.00 x eager"):
        assert fact in text


def test_unfolded_onnx_computes_what_pytorch_computes(tmp_path):
    from benchmarks.latency.subject import make_subject
    from benchmarks.latency.unfolded import Unfolded
    from benchmarks.latency.unfolded_onnx import onnx_networks

    subject = make_subject("tiny", 32, 3, 3, tmp_path / "bundle")
    noise = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)
    expected = Unfolded(subject, "cpu")(subject.planes, noise)
    networks = onnx_networks(subject, tmp_path)
    image = Unfolded(subject, "cpu", networks=networks)(subject.planes, noise)
    assert expected.std() > 0.1
    np.testing.assert_allclose(image, expected, atol=5e-5)
    assert not np.array_equal(image, expected)  # another library's sums


def test_the_compiled_loop_of_a_cpu_uses_no_graphs_of_cuda(tmp_path, monkeypatch):
    import torch

    from benchmarks.latency.subject import make_subject
    from benchmarks.latency.unfolded import Unfolded

    modes = []

    def compile_(part, *, mode, dynamic):
        modes.append(mode)
        return part

    monkeypatch.setattr(torch, "compile", compile_)
    subject = make_subject("tiny", 32, 2, 2, tmp_path / "bundle")
    noise = np.random.default_rng(0).standard_normal((3, 2, 32, 32), dtype=np.float32)
    compiled = Unfolded(subject, "cpu", compiled=True)(subject.planes, noise)
    assert modes == ["default"] * 3
    np.testing.assert_array_equal(compiled, Unfolded(subject, "cpu")(subject.planes, noise))


def test_baseline_computes_what_the_runtime_computes(tmp_path):
    from benchmarks.latency.subject import folded_macs, make_subject, total_macs
    from benchmarks.latency.unfolded import Unfolded
    from petrt.nets.count import count
    from tests.models import Reconstructor

    subject = make_subject("tiny", 32, 8, 3, tmp_path / "bundle")
    noise = np.random.default_rng(0).standard_normal((4, 1, 8, 1, 32, 32), dtype=np.float32)
    one = {"preset": "paper", "samples": 1}
    runtime = Reconstructor(subject.bundle, engine="onnxruntime", device="cpu", **one)
    result = runtime(subject.volume, noise=noise)
    scale = np.float32(result.stats["frames"][0]["scale"])
    planes = np.ascontiguousarray(subject.volume.transpose(2, 0, 1)) / scale
    expected = result.image.transpose(2, 0, 1) / scale
    assert expected.std() > 0.1  # an image in which both networks show
    for batch in (1, 4):
        image = Unfolded(subject, "cpu", batch=batch)(planes, noise[:, 0, :, 0])
        np.testing.assert_allclose(image, expected, atol=5e-5)  # measured: 8e-6
    macs, whole = folded_macs(subject, 32), count(subject.spec.network, 32, 32)
    assert macs["denoiser"] < whole.denoiser.macs + whole.denoiser.attention_macs
    per_slice = macs["guidance"] + macs["coarse"] + 2 * 3 * macs["denoiser"]
    assert total_macs(macs, slices=8, samples=2, steps=3) == 8 * per_slice
