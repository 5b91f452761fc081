"""From a trace of PyTorch's profiler to a table of kernels: time, calls, bytes, shares of the GPU's rates.

Bytes are what a kernel cannot avoid: for petrt's own by formula, for others the tensors that the call got,
each counted once (an estimate: a kernel that updates in place moves more, one that reads a part less).
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]
ITEM_BYTES = {
    "float": 4,
    "double": 8,
    "c10::BFloat16": 2,
    "c10::Half": 2,
    "int": 4,
    "long": 8,
    "long int": 8,
    "unsigned char": 1,
    "signed char": 1,
    "bool": 1,
}
OWN = re.compile(r"petrt::.*?<petrt::(\w+)>|petrt::.*?(spectrum_of_slices)")
# Where an operator's stride, padding and dilation stand among its arguments.
CONVOLUTIONS = {
    "aten::convolution": (3, 4, 5),
    "aten::_convolution": (3, 4, 5),
    "aten::cudnn_convolution": (3, 2, 4),
}
TRANSPOSED = "aten::cudnn_convolution_transpose"


@dataclass(frozen=True)
class OwnBatch:
    """A batch as petrt's kernels see it; ``second_order``: steps that read the step before."""

    images: int
    slices: int
    voxels: int
    steps: int
    second_order: int

    def bytes_of(self, body: str) -> int | None:
        """Bytes that all calls of a kernel's body must move in a batch; None for a body without a formula.

        One call of the loop draws all samples; its noise is drawn in registers.
        """
        image, plane = 4 * self.images * self.voxels, 4 * self.slices * self.voxels
        return {
            "Start": image,
            # r is read and written, eps read; a second-order step reads x0, its predecessor writes it.
            "Step": image * (3 * self.steps + 2 * self.second_order),
            "Average": image + 3 * plane,
            "StackSlices": plane * (1 + 1 + 5),
        }.get(body)


@dataclass
class Row:
    """A kernel's calls together; ``moved`` and ``products`` None where they are not known."""

    kind: str
    calls: int = 0
    microseconds: float = 0.0
    moved: int | None = None
    products: int | None = None

    def add(self, event: Event, work: tuple[int | None, int | None]) -> None:
        self.calls += 1
        self.microseconds += float(event["dur"])
        for name, value in zip(("moved", "products"), work, strict=True):
            if value is not None:
                setattr(self, name, (getattr(self, name) or 0) + value)


def traced(
    run: Callable[[], object], synchronize: Callable[[], object], warm_up: int
) -> list[Event]:
    """The events of one ``run`` that enqueues its work, as the profiler exports them."""
    from torch.profiler import ProfilerActivity, supported_activities
    from torch.profiler import profile as profiler

    for _ in range(warm_up):
        run()
    synchronize()
    wanted = {ProfilerActivity.CPU, ProfilerActivity.CUDA} & supported_activities()
    with profiler(activities=list(wanted), record_shapes=True) as recorded:
        run()
        synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events: list[Event] = json.loads(path.read_text())["traceEvents"]
    return events


def table(
    events: list[Event], batch: OwnBatch, copy_gb_per_s: float, peak_tflops: float
) -> dict[str, Any]:
    """Kernels by time, longest first, and their sums by kind; ``busy_share``: of the time they span."""
    kernels = [e for e in events if e.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    if not kernels:
        raise RuntimeError("the profiler saw no kernel: is CUPTI there, and may it be used?")
    rows: dict[str, Row] = {}
    for event, work in _with_work(kernels, _operators(events)):
        name = short_name(event["name"])
        rows.setdefault(name, Row(_kind(event))).add(event, work)
    for name, row in rows.items():
        if row.kind == "petrt":
            row.moved = batch.bytes_of(name.removeprefix("petrt "))
    total = sum(row.microseconds for row in rows.values())
    begin = min(float(e["ts"]) for e in kernels)
    span = max(float(e["ts"]) + float(e["dur"]) for e in kernels) - begin
    ordered = sorted(rows.items(), key=lambda item: -item[1].microseconds)
    return {
        "kernel_ms": round(total / 1e3, 4),
        "span_ms": round(span / 1e3, 4),
        "busy_share": round(total / span, 4) if span else None,
        "by_kind": _by_kind(rows, total, copy_gb_per_s, peak_tflops),
        "kernels": [
            {"kernel": name, **_figures(row, total, copy_gb_per_s, peak_tflops)}
            for name, row in ordered
        ],
    }


def _by_kind(
    rows: dict[str, Row], total: float, copy_gb_per_s: float, peak_tflops: float
) -> dict[str, Any]:
    sums: dict[str, Row] = {}
    for row in rows.values():
        one = sums.setdefault(row.kind, Row(row.kind))
        one.calls += row.calls
        one.microseconds += row.microseconds
        for name in ("moved", "products"):
            if getattr(row, name) is not None:
                setattr(one, name, (getattr(one, name) or 0) + getattr(row, name))
    ordered = sorted(sums.items(), key=lambda item: -item[1].microseconds)
    return {kind: _figures(row, total, copy_gb_per_s, peak_tflops) for kind, row in ordered}


def _figures(row: Row, total: float, copy_gb_per_s: float, peak_tflops: float) -> dict[str, Any]:
    seconds = row.microseconds / 1e6
    found: dict[str, Any] = {
        "kind": row.kind,
        "calls": row.calls,
        "ms": round(row.microseconds / 1e3, 4),
        "share": round(row.microseconds / total, 4) if total else None,
    }
    if row.moved is not None and seconds:
        rate = row.moved / seconds / 1e9
        found |= {
            "bytes": row.moved,
            "GB_per_s": round(rate, 1),
            "of_copy_bandwidth": round(rate / copy_gb_per_s, 3),
        }
    if row.products is not None and seconds:
        rate = 2 * row.products / seconds / 1e12
        found |= {
            "Tflop": round(2 * row.products / 1e12, 6),
            "of_matmul_peak": round(rate / peak_tflops, 3),
        }
    return found


def short_name(name: str) -> str:
    """petrt's own by the body alone, others as they are, cut."""
    own = OWN.search(name)
    return f"petrt {own[1] or own[2]}" if own else name[:160]


def _kind(event: Event) -> str:
    """petrt's own, Triton's (pointwise or reduction), products (convolutions, matrices), copies, others."""
    name = event["name"]
    if OWN.search(name):
        return "petrt"
    if name.startswith("triton_"):
        return "triton"
    if event["cat"] != "kernel" or re.search(
        r"memcpy|copy_kernel|CatArray|nchwToNhwc|nhwcToNchw", name
    ):
        return "copy"
    products = r"conv|gemm|cutlass|xmma|fprop|dgrad|flash|fmha|implicit|nvjet|cudnn"
    return "product" if re.search(products, name, re.I) else "other"


def _operators(events: list[Event]) -> dict[int, Event]:
    """What launched a kernel: its External id -> the operator, with its arguments' shapes."""
    found = {}
    for event in events:
        identity = event.get("args", {}).get("External id")
        if event.get("cat") == "cpu_op" and identity is not None:
            found[int(identity)] = event
    return found


def _with_work(
    kernels: list[Event], operators: dict[int, Event]
) -> list[tuple[Event, tuple[int | None, int | None]]]:
    """Each kernel with its bytes and products: its operator's, if it is that operator's longest."""
    of: dict[int, list[Event]] = defaultdict(list)
    for event in kernels:
        identity = event.get("args", {}).get("External id")
        if identity is not None and int(identity) in operators:
            of[int(identity)].append(event)
    longest = {id(max(each, key=lambda e: float(e["dur"]))): key for key, each in of.items()}
    return [
        (event, work_of(operators[longest[id(event)]]) if id(event) in longest else (None, None))
        for event in kernels
    ]


def work_of(operator: Event) -> tuple[int | None, int | None]:
    """Bytes of an operator's tensors and, where it is a sum of products, how many of them."""
    arguments = operator["args"]
    dims, kinds = arguments.get("Input Dims", []), arguments.get("Input type", [])
    tensors = [
        (d, ITEM_BYTES[k]) for d, k in zip(dims, kinds, strict=False) if k in ITEM_BYTES and d
    ]
    if not tensors:
        return None, None
    moved = sum(math.prod(d) * size for d, size in tensors)
    made = _made(operator["name"], dims, arguments.get("Concrete Inputs", []))
    if made is None:
        return moved, None
    out, products = made
    return moved + out * tensors[0][1], products


def _made(name: str, dims: list[Any], values: list[str]) -> tuple[int, int] | None:
    """Elements that an operator makes, and products it takes; None for one that only moves."""
    try:
        if name in CONVOLUTIONS:
            x, w = dims[:2]
            stride, pad, dilation = (json.loads(values[i]) for i in CONVOLUTIONS[name])
            height, width = (
                (x[2 + i] + 2 * pad[i] - dilation[i] * (w[2 + i] - 1) - 1) // stride[i] + 1
                for i in range(2)
            )
            out = x[0] * w[0] * height * width
            return out, out * math.prod(w[1:])
        if name == TRANSPOSED:  # each input element meets the whole kernel
            x, w = dims[:2]
            stride = json.loads(values[4])
            return x[0] * w[1] * x[2] * x[3] * math.prod(stride), math.prod(x) * math.prod(w[1:])
        if name in ("aten::mm", "aten::bmm"):
            a, b = dims[:2]
            out = math.prod(a[:-1]) * b[-1]
            return out, out * a[-1]
        if name == "aten::addmm":
            return _made("aten::mm", dims[1:3], [])
        if "scaled_dot_product" in name:
            q, k, v = dims[:3]
            out = math.prod(q[:-1]) * v[-1]
            return out, math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])
    except (
        IndexError,
        ValueError,
        TypeError,
    ):  # another version's arguments: bytes are still known
        return None
    return None
