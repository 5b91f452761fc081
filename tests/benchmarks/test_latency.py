"""The latency benchmark end to end on a CPU, and its baseline against the runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# Small sums on many threads take longer than on one, above all where other tests run beside.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=BENCHMARKS, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[dict, str]:
    """Result and table of a small run."""
    out = tmp_path_factory.mktemp("latency") / "out.json"
    arguments = ["--small", "--device", "cpu", "--repeats", "1", "--slices", "4"]
    text = python("latency.py", *arguments, "--out", str(out))
    return json.loads(out.read_text()), text


def test_every_section_of_a_cpu_leaves_numbers(run):
    result, _ = run
    assert result["failed"] == {}
    assert result["skipped"] == {}
    assert set(result["volume"]["engines"]) == {"onnxruntime", "torch"}
    assert set(result["volume"]["absent"]) == {"tensorrt", "tensorrt-rtx"}
    assert all(e["median_s"] > 0 for e in result["volume"]["engines"].values())
    assert result["ams"]["ratio"] > 1
    assert result["eager"]["slices_measured"] == 4
    assert result["eager"]["volume_s"] == pytest.approx(4 * result["eager"]["per_slice_s"])
    assert result["gpu"] is None


def test_engines_agree_with_the_reference(run):
    for section in ("agreement", "agreement_demo"):
        entries = run[0][section]
        assert set(entries) == {"onnxruntime fp32", "torch fp32"}
        assert entries["onnxruntime fp32"]["psnr_db"] is None  # the same engine: the same bits
        assert entries["torch fp32"]["psnr_db"] > 90


def test_table_has_a_row_and_a_verdict_for_each_bar(run):
    result, text = run
    assert len(result["rows"]) == 7
    for row in result["rows"]:
        assert row["what"] in text
        assert row["verdict"]
        # A bar for a GPU is not met on a CPU, whatever the number.
        assert row["verdict"] not in ("met", "missed")


@pytest.fixture
def scripts(monkeypatch) -> None:
    """The benchmarks' modules can be imported, as when one of them is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_run_without_time_says_what_it_left_out(scripts, tmp_path, capsys):
    import latency

    out = tmp_path / "out.json"
    arguments = ["--small", "--device", "cpu", "--budget", "-1", "--out", str(out)]
    assert latency.main(arguments) == 0
    result = json.loads(out.read_text())
    assert set(result["skipped"]) == {"volume", "eager", "ams", "agreement", "agreement_demo"}
    assert all(row["verdict"].startswith("not measured") for row in result["rows"])
    assert "skipped: eager" in capsys.readouterr().out


def test_a_section_that_fails_is_named_and_the_others_go_on(scripts, monkeypatch, capsys):
    import latency
    import sections

    def broken(bench):
        raise RuntimeError("no such kernel")

    def works(bench):
        return {"ratio": 5.0}

    works.__name__ = "ams"
    monkeypatch.setattr(latency, "ON_CPU", (broken, works))
    options = latency.parse(["--device", "cpu", "--small"])
    bench = sections.Bench(options, subject=None)
    saved = []
    latency.measure(bench, lambda: saved.append(dict(bench.found)))
    assert bench.failed == {"broken": "RuntimeError: no such kernel"}
    assert bench.found == {"ams": {"ratio": 5.0}}
    assert saved == [{}, {"ams": {"ratio": 5.0}}]


def test_verdicts_follow_the_bars(scripts):
    import report

    found = {"ams": {"ratio": 6.6}, "eager": {"times_faster": 50.0}}
    rows = {row["what"]: row for row in report.rows(found, {"peaks": "x"}, {}, on_gpu=True)}
    assert rows["AMS-8 over one sample"]["verdict"] == "missed"
    assert rows["against the unfolded eager loop, batch 1"]["verdict"] == "met"
    assert rows["volume, one sample"]["verdict"] == "not measured: not part of this run"


def test_baseline_computes_what_the_runtime_computes(scripts, tmp_path):
    from subject import folded_macs, make_subject, total_macs
    from unfolded import Unfolded

    from petrt.nets.count import count
    from petrt.reconstructor import Reconstructor

    subject = make_subject("tiny", 32, 8, 3, tmp_path / "bundle")
    noise = np.random.default_rng(0).standard_normal((4, 1, 8, 1, 32, 32), dtype=np.float32)
    runtime = Reconstructor(subject.bundle, engine="onnxruntime", device="cpu")
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


def test_gpu_script_is_valid_and_explains_itself():
    done = subprocess.run(
        ["bash", str(BENCHMARKS / "gpu.sh"), "--help"], capture_output=True, text=True, check=True
    )
    assert "--wheels DIR" in done.stdout
    assert "shellcheck" not in done.stdout
    bad = subprocess.run(
        ["bash", str(BENCHMARKS / "gpu.sh"), "--nonsense"], capture_output=True, check=False
    )
    assert bad.returncode == 2


def test_stages_and_result_become_one_file(run, tmp_path):
    result = tmp_path / "gpu_x.json"
    result.write_text(json.dumps(run[0]))
    (tmp_path / "tests.log").write_text("======== 12 passed, 3 skipped in 4.56s ========\n")
    stages = tmp_path / "stages.tsv"
    stages.write_text("tests\t5\t0\nlatency\t60\t1\n")
    text = python("stages.py", str(stages), str(result))
    assert json.loads(result.read_text())["stages"] == [
        {"stage": "tests", "seconds": 5, "exit": 0, "tests": "12 passed, 3 skipped"},
        {"stage": "latency", "seconds": 60, "exit": 1},
    ]
    assert "12 passed, 3 skipped" in text
    assert "AMS-8" in text
