"""How long a volume takes, against what, and what bounds it.

    python benchmarks/latency.py                          # a GPU, paper-size networks
    python benchmarks/latency.py --device cpu             # this CPU, about half an hour
    python benchmarks/latency.py --device cpu --sections fast memory    # again, the rest is kept
    python benchmarks/latency.py --device cpu --small     # any machine, tiny networks, seconds

Candidates take turns in one process; clocks are left alone. A section that fails or finds no time is
named in the result, and the others go on. On a CPU torch.compile takes most of the time and comes last
(--no-compile leaves it out); Markdown and a picture stand beside the JSON. Needs petrt[train].
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

import report
import report_cpu
from common import RESULTS, gpu, machine
from sections import ON_GPU, Bench
from sections_cpu import NEEDS, ON_CPU, CpuBench
from subject import make_subject

from petrt.bench.machine import busy, describe


def measure(bench: Bench | CpuBench, save: Callable[[], object]) -> None:
    """Run the sections into ``bench.found``; what failed and what there was no time for stands beside.

    The result is saved after each, so that a run that is cut off leaves what it had.
    """
    bench.deadline = time.perf_counter() + bench.options.budget
    sections: tuple[Callable[[Any], dict[str, Any]], ...] = ON_GPU if bench.on_gpu else ON_CPU
    for section in sections:
        name = section.__name__
        if name not in (bench.options.sections or [s.__name__ for s in sections]):
            continue
        for kept in (bench.found, bench.failed, bench.skipped):
            kept.pop(name, None)  # an earlier run's
        lacking = [] if bench.on_gpu else [n for n in NEEDS.get(name, ()) if n not in bench.found]
        if name == "compiled" and bench.options.no_compile:
            bench.skipped[name] = "--no-compile"
        elif time.perf_counter() > bench.deadline:
            bench.skipped[name] = f"the budget of {bench.options.budget:.0f} s was over"
        elif "volume" in bench.failed:
            bench.skipped[name] = "no engine"
        elif lacking:
            bench.skipped[name] = f"it needs the section {lacking[0]}"
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
    parser.add_argument("--budget", type=float, default=None, help="start nothing after, seconds")
    parser.add_argument("--sections", nargs="+", help="these only; others are kept from --out")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args(arguments)
    gpu_run = options.device != "cpu"
    options.precision = options.precision or ("bf16" if gpu_run else "fp32")
    options.preset = options.preset or ("tiny" if options.small else "paper")
    options.size, options.steps = (32, 2) if options.small else (128, 10)
    options.slices = options.slices or (8 if options.small else 128 if gpu_run else 4)
    few = 3 if options.small or options.quick else 10 if gpu_run else 5
    options.repeats = options.repeats or few
    options.memory_slices = options.slices if options.small else 128
    options.starts = 2 if options.small else 7
    options.budget = options.budget or (480.0 if gpu_run else 7200.0)
    options.out = options.out or RESULTS / ("latency.json" if gpu_run else "latency_cpu.json")
    every = (8, 4) if options.small else (128,) if options.quick else (128, 32)
    options.batches = options.batches or every
    return options


def result_of(bench: Bench | CpuBench) -> dict[str, Any]:
    """All that is known by now, JSON-ready."""
    if isinstance(bench, CpuBench):
        known: dict[str, Any] = {
            "machine": bench.machine,
            "rows": report_cpu.rows(bench.found, bench.failed, bench.skipped),
        }
    else:
        known = {
            "machine": machine(),
            "gpu": gpu(),
            "rows": report.rows(bench.found, bench.failed, bench.skipped),
        }
    return {
        **known,
        "subject": subject_of(bench.options),
        "failed": bench.failed,
        "skipped": bench.skipped,
        **bench.found,
    }


def subject_of(options: argparse.Namespace) -> dict[str, Any]:
    """What is measured."""
    return {
        "networks": options.preset, "weights": "random", "slices": options.slices,
        "size": options.size, "steps": options.steps, "precision": options.precision,
        "device": options.device, "repeats": options.repeats,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    on_cpu = options.device == "cpu"
    earlier = earlier_result(options) if on_cpu and options.sections else {}
    with tempfile.TemporaryDirectory() as folder:
        subject = make_subject(
            options.preset, options.size, options.slices, options.steps, Path(folder) / "bundle"
        )
        bench: Bench | CpuBench = CpuBench(options, subject) if on_cpu else Bench(options, subject)
        if isinstance(bench, CpuBench):
            resume(bench, earlier)

        def save() -> None:
            text = json.dumps(result_of(bench), indent=2) + "\n"
            options.out.write_text(text)

        measure(bench, save)
    result = result_of(bench)
    print(report_cpu.table(result) if on_cpu else report.table(result))
    if on_cpu:
        write_beside(options.out, result)
    print(options.out)
    return 1 if bench.failed else 0


def earlier_result(options: argparse.Namespace) -> dict[str, Any]:
    """What ``--out`` holds already, if it was measured on the same."""
    if not options.out.exists():
        return {}
    earlier: dict[str, Any] = json.loads(options.out.read_text())
    if earlier["subject"] != subject_of(options):
        sys.exit(f"{options.out} is of another subject, {earlier['subject']}: give another --out")
    return earlier


def resume(bench: CpuBench, earlier: dict[str, Any]) -> None:
    """Take over what another process found; the machine is this one's, as it is now."""
    names = [section.__name__ for section in ON_CPU]
    bench.found = {name: earlier[name] for name in names if name in earlier}
    bench.failed, bench.skipped = earlier.get("failed", {}), earlier.get("skipped", {})
    bench.machine = describe()
    if warning := busy(bench.machine):
        print(f"warning: {warning}", file=sys.stderr)


def write_beside(out: Path, result: dict[str, Any]) -> None:
    """The table and the picture, with the result's name."""
    out.with_suffix(".md").write_text(report_cpu.table(result) + "\n")
    if "volume" in result:
        out.with_suffix(".png").write_bytes(report_cpu.picture(result))


if __name__ == "__main__":
    sys.exit(main())
