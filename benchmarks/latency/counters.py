"""What Nsight Compute counts of every kernel of a batch: bytes of memory, and how busy memory and cores were.

    python -m benchmarks.latency.counters --out FILE   # runs ncu on itself; other options: benchmarks.latency

Clocks are left as they are. Where the driver keeps its counters to administrators, the result says so.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import write_json
from benchmarks.latency.kernel_table import short_name

METRICS = {
    "gpu__time_duration.sum": "ms",
    "dram__bytes.sum": "bytes",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "memory_percent",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "cores_percent",
}
# To milliseconds and bytes, by Nsight Compute's names of units.
UNITS = {
    "nsecond": 1e-6,
    "ns": 1e-6,
    "usecond": 1e-3,
    "us": 1e-3,
    "msecond": 1.0,
    "ms": 1.0,
    "second": 1e3,
    "s": 1e3,
    "byte": 1.0,
    "Kbyte": 1e3,
    "Mbyte": 1e6,
    "Gbyte": 1e9,
    "%": 1.0,
}


def one_batch(arguments: list[str]) -> None:
    """One call of each network and of petrt's own kernels, between the profiler's start and stop."""
    import torch

    from benchmarks.latency import device_parts
    from benchmarks.latency import run as latency
    from benchmarks.latency.gpu_bench import Bench

    options = latency.parse(arguments)
    bench = latency.make_bench(options, options.bundles or Path("build/gpu/bundles"))
    assert isinstance(bench, Bench)
    reconstructor = bench.fastest()
    slices, samples = reconstructor(bench.subject.volume).stats["batch"]
    bound = device_parts.BoundLoop(reconstructor, slices, samples, bench.size)
    bound.plain()
    bound.stream.synchronize()
    torch.cuda.profiler.start()
    bound.prologue()
    bound.denoise()
    bound.own_kernels()
    bound.stream.synchronize()
    torch.cuda.profiler.stop()


def parse(text: str) -> list[dict[str, Any]]:
    """Kernels by time, longest first, from the CSV that ncu writes: one line a kernel and metric."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        raise ValueError("ncu wrote no table")
    launches: dict[str, dict[str, Any]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines[start:]))):
        key = METRICS.get(row.get("Metric Name", ""))
        if key is None:
            continue
        value = float(row["Metric Value"].replace(",", "")) * UNITS.get(row["Metric Unit"], 1.0)
        launches.setdefault(row["ID"], {"kernel": short_name(row["Kernel Name"])})[key] = value
    rows: dict[str, list[dict[str, Any]]] = {}
    for launch in launches.values():
        rows.setdefault(launch["kernel"], []).append(launch)
    found = [_together(name, each) for name, each in rows.items()]
    return sorted(found, key=lambda row: -row["ms"])


def _together(name: str, launches: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over a kernel's launches; the percentages weighed by time."""
    time = sum(each.get("ms", 0.0) for each in launches)
    moved = sum(each.get("bytes", 0.0) for each in launches)
    row: dict[str, Any] = {"kernel": name, "calls": len(launches), "ms": round(time, 4)}
    row |= {"bytes": int(moved), "GB_per_s": round(moved / time / 1e6, 1) if time else None}
    for key in ("memory_percent", "cores_percent"):
        weighed = sum(each.get(key, 0.0) * each.get("ms", 0.0) for each in launches)
        row[key] = round(weighed / time, 1) if time else None
    return row


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--batch"]:
        one_batch(arguments[1:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    options, rest = parser.parse_known_args(arguments)
    command = [
        "ncu",
        "--csv",
        "--clock-control",
        "none",
        "--cache-control",
        "none",
        "--profile-from-start",
        "off",
        "--metrics",
        ",".join(METRICS),
        sys.executable,
        "-m",
        "benchmarks.latency.counters",
        "--batch",
        *rest,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    denied = "ERR_NVGPUCTRPERM" in done.stdout
    if done.returncode != 0 or denied:
        print(done.stdout[-4000:])
        why = "the driver keeps its counters to administrators" if denied else "ncu failed"
        write_json(options.out, {"failed": {"counters": why}})
        return 1
    rows = parse(done.stdout)
    write_json(options.out, {"counters": {"of": "one call of each network", "kernels": rows}})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
