"""Processes of their own, and what the machine says of itself."""

from __future__ import annotations

import pytest

from petrt.bench import apart, machine, peak_jobs, peaks
from petrt.bench.peak_jobs import gemm_here
from petrt.bench.peaks import Peaks
from petrt.errors import DeviceError


def test_a_reconstruction_apart_tells_its_events_and_its_peak(tiny_bundle):
    options = {"model": str(tiny_bundle), "engine": "onnxruntime", "batch": [1, 1], "threads": 1}
    found = apart.call(
        "reconstruct", {"options": options, "volume": {"height": 32, "width": 32, "slices": 3}}
    )
    events = found["events"]
    assert list(events) == ["imported", "loaded", "ready", "first slice", "done"]
    assert list(events.values()) == sorted(events.values())
    # More than an interpreter with NumPy, less than what this one has loaded with PyTorch.
    assert 30 << 20 < found["peak_bytes"] < 500 << 20


def test_a_job_that_fails_says_why():
    with pytest.raises(DeviceError, match="no model 'nonsense'"):
        apart.call(
            "reconstruct",
            {"options": {"model": "nonsense"}, "volume": {"height": 8, "width": 8, "slices": 1}},
        )


def test_threads_reach_the_child():
    found = apart.call("gemm", {"dtype": "fp32", "size": 64, "threads": 1}, threads=1)
    assert set(found["rates"]) == {"numpy", "onnxruntime"}
    assert min(found["rates"].values()) > 0


def test_openvino_multiplies_the_same_model(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(peak_jobs, "PERIOD_S", 0.0)
    assert gemm_here("bf16", 64, 1)["rates"]["openvino"] > 0


def test_bytes_of_copy_and_triad(monkeypatch):
    monkeypatch.setattr(peak_jobs, "PERIOD_S", 0.0)
    monkeypatch.setattr(peak_jobs, "MEMORY_BYTES", 1 << 16)
    found = peak_jobs.bandwidth_here(2)
    assert {where: set(kinds) for where, kinds in found.items()} == {
        "memory": {"copy", "triad"},
        "cache": {"copy", "triad"},
    }
    assert all(rate > 0 for kinds in found.values() for rate in kinds.values())


def test_a_precision_that_nothing_can_show_is_not_guessed(monkeypatch):
    monkeypatch.setattr(peaks, "isa", lambda: ["avx2"])
    assert peaks.unmeasurable("bf16") == "not measured: this CPU has no bf16 arithmetic"
    monkeypatch.setattr(peaks, "isa", lambda: ["avx2", "avx512_bf16"])
    monkeypatch.setattr(machine, "installed", lambda name: None)
    assert peaks.unmeasurable("bf16") == "not measured: needs OpenVINO"
    assert peaks.unmeasurable("fp32") is None


def calls(answers):
    """apart.call, without processes: rates of one thread and of two, in turn for each library."""

    def call(job, arguments, threads=None):
        n = arguments["threads"]
        if job == "bandwidth":
            kinds = {"copy": 10.0 * n, "triad": 15.0 * n}
            return {"memory": kinds, "cache": {"copy": 100.0, "triad": 90.0}}
        return {"rates": {"numpy": 50.0 * n, "onnxruntime": 40.0 * n + next(answers)}}

    return call


def test_peaks_take_the_faster_library_and_are_sampled_again(monkeypatch):
    answers = iter([0.0, 30.0, 25.0, 35.0, 0.0])
    monkeypatch.setattr(apart, "call", calls(answers))
    monkeypatch.setattr(peaks, "DTYPES", ("fp32", "bf16"))
    monkeypatch.setattr(peaks, "unmeasurable", lambda d: "not measured" if d == "bf16" else None)
    found = Peaks(peaks.measure_peaks(threads=2))
    one, two = (found.found["gemm"]["fp32"][n] for n in ("1", "2"))
    assert (one["ops_per_s"], one["by"]) == (50.0, "numpy")
    assert (two["ops_per_s"], two["by"]) == (110.0, "onnxruntime")
    assert found.gemm("fp32") == 110.0
    assert found.gemm("bf16") is None
    assert found.bandwidth("memory") == 20.0
    assert found.bandwidth("cache") == 200.0  # each core has its own
    for _ in range(3):
        found.sample(["fp32", "bf16", "fp16"])
    assert found.record()["sampled"] == {"fp32": [105.0, 115.0, 100.0]}
    assert found.gemm("fp32") == 115.0  # the most, not the last


def test_the_machine_is_described_without_a_name():
    found = machine.describe() | machine.load()
    assert set(found) == {
        "cpu",
        "cores",
        "isa",
        "caches",
        "memory_GiB",
        "system",
        "architecture",
        "governor",
        "load_average",
        "busy_share",
        "python",
        "versions",
    }
    assert found["cores"] >= 1
    assert {"petrt", "numpy", "onnxruntime"} <= set(found["versions"])


@pytest.mark.parametrize(
    ("share", "load", "says"),
    [
        (0.5, [0.0, 0.0, 0.0], "50 % busy"),
        (0.02, [3.0, 1.0, 1.0], "load average 3.0 on 2 cores"),
        (0.02, [0.5, 3.0, 3.0], None),
        (None, None, None),
    ],
)
def test_a_busy_machine_is_told(share, load, says):
    found = machine.busy({"cores": 2, "busy_share": share, "load_average": load})
    assert (found is None) if says is None else (says in found)
