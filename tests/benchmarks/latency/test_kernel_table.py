"""The table of kernels from a profiler's trace, and from Nsight Compute's counters."""

from __future__ import annotations

import pytest
import torch

from benchmarks.latency import counters, gpu_report, kernel_table
from benchmarks.latency.kernel_table import OwnBatch, table, work_of

BATCH = OwnBatch(images=4, slices=2, voxels=256, steps=3, second_order=1)
STEP = "void petrt::cuda::elementwise<petrt::Step>(petrt::Step, unsigned int)"


def kernel(name: str, begin: float, microseconds: float, identity: int = 0, cat: str = "kernel"):
    arguments = {"External id": identity}
    return {"cat": cat, "name": name, "ts": begin, "dur": microseconds, "args": arguments}


def operators(run) -> dict[str, dict]:
    """What this PyTorch's profiler writes of the operators in ``run``, by name."""
    events = kernel_table.traced(run, lambda: None, warm_up=0)
    return {event["name"]: event for event in events if event.get("cat") == "cpu_op"}


def test_work_of_a_convolution_as_this_pytorch_records_it():
    x = torch.zeros(2, 8, 17, 16, dtype=torch.bfloat16)
    w = torch.zeros(6, 8, 3, 3, dtype=torch.bfloat16)
    found = operators(lambda: torch.nn.functional.conv2d(x, w, stride=2, padding=1))
    out = 2 * 6 * 9 * 8
    expected = (2 * (x.numel() + w.numel() + out), out * 8 * 9)
    assert work_of(found["aten::convolution"]) == expected
    assert work_of(found["aten::_convolution"]) == expected


def test_work_of_products_and_of_what_only_moves():
    a, b = torch.zeros(3, 5, 7), torch.zeros(3, 7, 2)
    found = operators(lambda: (torch.bmm(a, b), torch.add(a, a)))
    assert work_of(found["aten::bmm"]) == (4 * (105 + 42 + 30), 30 * 7)
    assert work_of(found["aten::add"])[1] is None
    cudnn = {
        "name": kernel_table.TRANSPOSED,
        "args": {
            "Input Dims": [[2, 4, 8, 8], [4, 3, 4, 4], [], [], []],
            "Input type": ["float", "float", "ScalarList", "ScalarList", "ScalarList"],
            "Concrete Inputs": ["", "", "[1, 1]", "[0, 0]", "[2, 2]"],
        },
    }
    assert work_of(cudnn) == (4 * (512 + 192 + 2 * 3 * 16 * 16), 512 * 3 * 16)


def test_arguments_of_another_version_cost_the_products_and_not_the_table():
    arguments = {"Input Dims": [[1, 1, 4, 4], [1, 1, 3, 3]], "Input type": ["float", "float"]}
    odd = {"name": "aten::convolution", "args": arguments}
    assert work_of(odd) == (4 * 25, None)


def test_kernels_by_time_with_their_share_of_the_rates():
    fused = {
        "cat": "cpu_op",
        "name": "triton_poi_fused_silu_3",
        "ts": 0,
        "dur": 1,
        "args": {
            "External id": 5,
            "Input Dims": [[4, 256], [4, 256], []],
            "Input type": ["c10::BFloat16", "c10::BFloat16", "Scalar"],
        },
    }
    product = {
        "cat": "cpu_op",
        "name": "aten::mm",
        "ts": 0,
        "dur": 1,
        "args": {
            "External id": 6,
            "Input Dims": [[64, 32], [32, 16]],
            "Input type": ["float", "float"],
        },
    }
    events = [
        fused,
        product,
        kernel("triton_poi_fused_silu_3", 0, 2.0, 5),
        kernel("nchwToNhwcKernel", 3, 1.0, 6),
        kernel("sm90_xmma_gemm_f32", 4, 5.0, 6),
        kernel(STEP, 10, 2.0),
        kernel(STEP, 13, 2.0),
        kernel("Memcpy DtoD", 15, 1.0, cat="gpu_memcpy"),
    ]
    found = table(events, BATCH, copy_gb_per_s=10.0, peak_tflops=0.1)
    rows = {row["kernel"]: row for row in found["kernels"]}
    assert next(iter(rows)) == "sm90_xmma_gemm_f32"
    assert found["kernel_ms"] == pytest.approx(0.013)
    assert found["busy_share"] == pytest.approx(13 / 16, abs=1e-4)
    own = rows["petrt Step"]
    assert (own["kind"], own["calls"]) == ("petrt", 2)
    assert own["bytes"] == 4 * 4 * 256 * (3 * 3 + 2)
    assert rows["triton_poi_fused_silu_3"]["bytes"] == 2 * 2 * 4 * 256
    assert rows["triton_poi_fused_silu_3"]["of_copy_bandwidth"] == pytest.approx(0.205, abs=1e-3)
    # An operator's work is its longest kernel's, not that of the copies it makes first.
    gemm = rows["sm90_xmma_gemm_f32"]
    assert gemm["Tflop"] == pytest.approx(2 * 64 * 32 * 16 / 1e12, abs=1e-6)
    assert "bytes" not in rows["nchwToNhwcKernel"]
    assert found["by_kind"]["copy"]["calls"] == 2
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1, abs=1e-3)


def test_a_trace_without_kernels_is_no_table():
    with pytest.raises(RuntimeError, match="CUPTI"):
        table([{"cat": "cpu_op", "name": "aten::mm", "args": {}}], BATCH, 1.0, 1.0)


def test_every_kernel_of_a_batch_but_the_spectrum_has_a_formula():
    for body in ("Start", "Step", "Average", "StackSlices"):
        assert BATCH.bytes_of(body) > 0
    assert BATCH.bytes_of("spectrum_of_slices") is None
    # As benchmarks' own timing of the same kernels counts them: see device_parts.kernel_cases.
    assert BATCH.bytes_of("StackSlices") == 4 * 2 * 256 * 7


NCU = """==PROF== Connected to process 7
"ID","Process ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","7","{step}","gpu__time_duration.sum","usecond","4.00"
"0","7","{step}","dram__bytes.sum","Mbyte","2.00"
"0","7","{step}","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","50.00"
"0","7","{step}","launch__grid_size","","1,024"
"1","7","{step}","gpu__time_duration.sum","usecond","12.00"
"1","7","{step}","dram__bytes.sum","Kbyte","6,000.00"
"1","7","{step}","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","90.00"
"2","7","conv","gpu__time_duration.sum","msecond","1.00"
"2","7","conv","dram__bytes.sum","Gbyte","1.50"
"""


def test_counters_are_summed_by_kernel_and_weighed_by_time():
    conv, step = counters.parse(NCU.replace("{step}", STEP))
    assert (conv["kernel"], conv["ms"], conv["GB_per_s"]) == ("conv", 1.0, 1500.0)
    assert (step["kernel"], step["calls"], step["bytes"]) == ("petrt Step", 2, 8_000_000)
    assert step["ms"] == pytest.approx(0.016)
    assert step["GB_per_s"] == 500.0
    assert step["memory_percent"] == 80.0
    lines = gpu_report._counter_lines({"of": "one call of each network", "kernels": [conv, step]})
    assert lines[-1].split() == ["2", "0.016", "500", "petrt", "Step"]
    with pytest.raises(ValueError, match="no table"):
        counters.parse("==ERROR== something else")
