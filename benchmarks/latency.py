"""How long a volume takes, against what, and what bounds it.

    python benchmarks/latency.py                          # a GPU, paper-size networks
    python benchmarks/latency.py --device cpu --small     # any machine, tiny networks, seconds

Everything is measured in this one process, candidates in turn; clocks are left alone. A section
that fails or finds no time is named in the result, and the others go on. Needs petrt[train].
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import RESULTS, gpu, machine
from report import rows, table
from sections import ON_CPU, ON_GPU, Bench
from subject import make_subject


def measure(bench: Bench, save: Callable[[], object]) -> None:
    """Run every section into ``bench.found``; what failed and what there was no time for stands beside.

    The result is saved after each, so that a run that is cut off leaves what it had.
    """
    bench.deadline = time.perf_counter() + bench.options.budget
    for section in ON_GPU if bench.on_gpu else ON_CPU:
        name = section.__name__
        if time.perf_counter() > bench.deadline:
            bench.skipped[name] = f"the budget of {bench.options.budget:.0f} s was over"
        elif "volume" in bench.failed:
            bench.skipped[name] = "no engine"
        else:
            started = time.perf_counter()
            try:
                bench.found[name] = section(bench)
            except Exception as error:
                traceback.print_exc()
                bench.failed[name] = f"{type(error).__name__}: {error}"
            print(f"{name}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
        save()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0", help="cuda:0 or cpu")
    parser.add_argument("--precision", default=None, help="default bf16 on a GPU, fp32 on a CPU")
    parser.add_argument("--small", action="store_true", help="tiny networks, few slices and steps")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--preset", default=None, help="networks; default paper")
    parser.add_argument("--slices", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=None)
    parser.add_argument("--batches", type=int, nargs="+", help="of the compiled baseline")
    parser.add_argument("--budget", type=float, default=480.0, help="start nothing after, seconds")
    parser.add_argument("--out", type=Path, default=RESULTS / "latency.json")
    options = parser.parse_args(arguments)
    gpu_run = options.device != "cpu"
    options.precision = options.precision or ("bf16" if gpu_run else "fp32")
    options.preset = options.preset or ("tiny" if options.small else "paper")
    options.size, options.steps = (32, 2) if options.small else (128, 10)
    options.slices = options.slices or (8 if options.small else 128)
    options.repeats = options.repeats or (3 if options.small or options.quick else 10)
    every = (8, 4) if options.small else (128,) if options.quick else (128, 32)
    options.batches = options.batches or every
    return options


def result_of(bench: Bench) -> dict[str, Any]:
    """All that is known by now, JSON-ready."""
    options = bench.options
    return {
        "machine": machine(),
        "gpu": gpu() if bench.on_gpu else None,
        "subject": {
            "networks": options.preset, "weights": "random", "slices": options.slices,
            "size": options.size, "steps": options.steps, "precision": options.precision,
            "device": options.device,
        },
        "rows": rows(bench.found, bench.failed, bench.skipped, on_gpu=bench.on_gpu),
        "failed": bench.failed,
        "skipped": bench.skipped,
        **bench.found,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subject = make_subject(
            options.preset, options.size, options.slices, options.steps, Path(folder) / "bundle"
        )
        bench = Bench(options, subject)

        def save() -> None:
            options.out.write_text(json.dumps(result_of(bench), indent=2) + "\n")

        measure(bench, save)
    print(table(result_of(bench)))
    print(options.out)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
