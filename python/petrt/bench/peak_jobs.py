"""What a process of its own measures of the machine: matrix products and memory traffic."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from petrt.hardware import packages

DTYPES = ("fp32", "bf16")
# Large enough that packing and edges cost little, small enough for tens of milliseconds.
GEMM_SIZE = 1536
# Float32 arrays: one that no cache holds, and one that a core's own second-level cache does.
MEMORY_BYTES, CACHE_BYTES = 128 << 20, 64 << 10
PERIOD_S = 0.25


def gemm_here(dtype: str, size: int, threads: int) -> dict[str, Any]:
    """Operations a second of square products in this process, by every library that has them."""
    runs: dict[str, Callable[[], Any]] = {}
    if dtype == "fp32":
        a, b = (np.random.default_rng(i).random((size, size), np.float32) for i in (0, 1))
        out = np.empty_like(a)
        runs["numpy"] = lambda: np.matmul(a, b, out=out)
    if dtype == "fp32" and packages.has_onnxruntime():
        runs["onnxruntime"] = _onnxruntime(size, threads)
    if dtype == "bf16":
        runs["openvino"] = _openvino("bf16", size, threads)
    return {"rates": {name: 2 * size**3 / _median(run) for name, run in runs.items()}}


def _median(run: Callable[[], Any]) -> float:
    """Median seconds over a fixed period, after two runs that warm up."""
    run()
    run()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun < PERIOD_S:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def product_model(size: int) -> bytes:
    """ONNX: a [size, size] times a constant."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(1).random((size, size), np.float32)
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "w"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", kind, [size, size])],
        [helper.make_tensor_value_info("c", kind, [size, size])],
        [numpy_helper.from_array(weight, "w")],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return bytes(model.SerializeToString())


def _onnxruntime(size: int, threads: int) -> Callable[[], Any]:
    from petrt.engines.onnxruntime import import_onnxruntime

    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(product_model(size), options, providers=["CPUExecutionProvider"])
    feed = {"a": np.ones((size, size), np.float32)}
    return lambda: session.run(None, feed)


def _openvino(precision: str, size: int, threads: int) -> Callable[[], Any]:
    from petrt.engines.openvino.engine import process_core

    core = process_core()
    compiled = core.compile_model(
        core.read_model(product_model(size)),
        "CPU",
        {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1},
    )
    request = compiled.create_infer_request()
    feed = {"a": np.ones((size, size), np.float32)}
    return lambda: request.infer(feed)


def bandwidth_here(threads: int) -> dict[str, Any]:
    """Bytes a second of a copy and a triad, in memory and in the cores' own caches."""
    with ThreadPoolExecutor(threads) as pool:
        return {
            "memory": _traffic(pool, threads, MEMORY_BYTES // threads, 1),
            "cache": _traffic(pool, threads, CACHE_BYTES, 1000),
        }


def _traffic(pool: ThreadPoolExecutor, threads: int, size: int, times: int) -> dict[str, float]:
    """``size`` bytes an array and thread, ``times`` over in each run so that starting costs little."""
    arrays = [[np.ones(size // 4, np.float32) for _ in range(3)] for _ in range(threads)]

    def copy(own: list[Any]) -> None:
        for _ in range(times):
            np.copyto(own[0], own[1])

    def triad(own: list[Any]) -> None:  # a = b + s c, in NumPy two passes
        for _ in range(times):
            np.multiply(own[2], np.float32(3), out=own[0])
            np.add(own[0], own[1], out=own[0])

    def rate(run: Callable[[list[Any]], None], traversals: int) -> float:
        seconds = _median(lambda: list(pool.map(run, arrays)))
        return traversals * (size // 4 * 4) * threads * times / seconds

    # copy: one read, one write; triad: a read and a write, then two reads and a write.
    return {"copy": rate(copy, 2), "triad": rate(triad, 5)}
