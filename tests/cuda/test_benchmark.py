"""The GPU sections of the latency benchmark, on the twin: they run and say what they claim to say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from petrt.reconstructor import Reconstructor
from tests.cuda.conftest import QueuedEngine

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_kernel_cases_run_and_count_their_bytes(cuda):
    import device_parts

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
    import device_parts

    engine.capturable = capturable
    reconstructor = Reconstructor(bundle, engine=engine)
    loop = device_parts.loop_seconds(reconstructor, 3, 2, 16, 2)
    ways = ("graph", "plain") if capturable else ("plain",)
    for way in ways:
        assert loop[way]["median_s"] >= loop[f"{way}_empty"]["median_s"]
    assert 0 < loop["loop_share"] < 1
    assert ("graph" in loop) == ("plain_over_graph" in loop) == capturable


def test_a_whole_run_with_what_needs_a_real_gpu_named_as_failed(cuda, monkeypatch, tmp_path):
    import latency
    import sections

    from petrt.errors import DeviceError

    def select(bundle, engine, device, precision):
        if engine != "torch":
            raise DeviceError(f"no {engine} here", "petrt doctor")
        return QueuedEngine(bundle, cuda)

    monkeypatch.setattr(sections, "select_engine", select)
    out = tmp_path / "out.json"
    assert latency.main(["--small", "--slices", "4", "--repeats", "2", "--out", str(out)]) == 1
    result = json.loads(out.read_text())
    assert set(result["failed"]) == {"eager", "compiled", "peaks"}  # PyTorch has no GPU here
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
