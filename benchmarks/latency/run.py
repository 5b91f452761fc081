"""How long a volume takes, against what, and what bounds it.

    python -m benchmarks.latency                          # a GPU, paper-size networks
    python -m benchmarks.latency --device cpu             # this CPU, about half an hour
    python -m benchmarks.latency --device cpu --sections fast memory    # again, the rest is kept
    python -m benchmarks.latency --device cpu --small     # any machine, tiny networks, seconds

Candidates take turns in one process; clocks are left alone. A section that fails or finds no time is
named in the result, and the others go on. On a CPU torch.compile takes most of the time and comes last
(--no-compile leaves it out); Markdown and a picture stand beside the JSON. Needs petrt[train,onnxruntime].
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, gpu, write_json
from benchmarks.latency import cpu_report, gpu_report
from benchmarks.latency.alarms import TooLong, alarm
from benchmarks.latency.cpu_sections import NEEDS, ON_CPU, CpuBench
from benchmarks.latency.environment import BRIEF, gpu_state
from benchmarks.latency.gpu_bench import Bench
from benchmarks.latency.gpu_sections import LIMITS, ON_GPU
from benchmarks.latency.subject import kept, make_subject
from petrt.bench.machine import busy, describe, load

BEGIN_AGAIN = 75  # exit code: this process can measure no more, another one can


class DeviceLost(Exception):
    """After an error the GPU does not answer this process any more."""


def measure(bench: Bench | CpuBench, save: Callable[[], object]) -> None:
    """Run the sections into ``bench.found``; what failed and what there was no time for stands beside.

    The result is saved before and after each, so that a run that is cut off leaves what it had and
    says in which section it was. Raises DeviceLost.
    """
    bench.deadline = time.perf_counter() + bench.options.budget
    if bench.options.until is not None:
        bench.deadline = time.perf_counter() + bench.options.until - time.time()
    sections: tuple[Callable[[Any], dict[str, Any]], ...] = ON_GPU if bench.on_gpu else ON_CPU
    for section in sections:
        name = section.__name__
        if name not in (bench.options.sections or [s.__name__ for s in sections]):
            continue
        decided = (bench.found, bench.failed, bench.skipped)
        if bench.options.resume and any(name in state for state in decided):
            continue
        for state in decided:
            state.pop(name, None)  # an earlier run's
        if why := why_not(bench, name):
            bench.skipped[name] = why
        else:
            started = time.perf_counter()
            run_section(bench, name, section, save)
            print(f"{name}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
        save()
        if name in bench.failed and isinstance(bench, Bench) and not answers():
            raise DeviceLost(name)


def why_not(bench: Bench | CpuBench, name: str) -> str:
    """Why a section is left out; nothing if it is not."""
    lacking = [] if bench.on_gpu else [n for n in NEEDS.get(name, ()) if n not in bench.found]
    if name == "compiled" and bench.options.no_compile:
        return "--no-compile"
    if time.perf_counter() > bench.deadline:
        return "no time was left"
    if "volume" in bench.failed and not bench.on_gpu:
        return "no engine"
    return f"it needs the section {lacking[0]}" if lacking else ""


def run_section(
    bench: Bench | CpuBench,
    name: str,
    section: Callable[[Any], dict[str, Any]],
    save: Callable[[], object],
) -> None:
    """One section within its time."""
    limit = math.inf
    if isinstance(bench, Bench) and bench.options.patience is not None:
        left = bench.deadline - time.perf_counter()
        limit = min(LIMITS.get(name, 60.0) * bench.options.patience, max(left, 1.0))
    if isinstance(bench, Bench):
        bench.running = name
        save()
    try:
        with alarm(limit):
            bench.found[name] = section(bench)
    except (Exception, TooLong) as error:
        traceback.print_exc()
        bench.failed[name] = f"{type(error).__name__}: {error}"
    finally:
        if isinstance(bench, Bench):
            bench.running, bench.states[name] = None, gpu_state(BRIEF)


def answers() -> bool:
    """Whether the GPU still works for this process; some errors leave it unusable until a new one."""
    try:
        import numpy as np

        from petrt import _cuda

        stream, sent, back = _cuda.Stream(), np.arange(4, dtype=np.float32), np.zeros(4, np.float32)
        array = _cuda.DeviceArray((4,), "float32")
        array.upload(sent, stream)
        array.download(back, stream)
        stream.synchronize()
        return bool((sent == back).all())
    except Exception:
        traceback.print_exc()
        return False


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.latency", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--device", default="cuda:0", help="cuda:0 or cpu")
    parser.add_argument("--precision", default=None, help="default bf16 on a GPU, fp32 on a CPU")
    parser.add_argument("--small", action="store_true", help="tiny networks, few slices and steps")
    parser.add_argument("--preset", default=None, help="networks; default paper")
    parser.add_argument("--slices", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=None)
    parser.add_argument("--batches", type=int, nargs="+", help="of the compiled baseline")
    parser.add_argument("--budget", type=float, default=None, help="start nothing after, seconds")
    parser.add_argument("--until", type=float, help="the same as seconds since 1970")
    parser.add_argument("--sections", nargs="+", help="these only; others are kept from --out")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--bundles", type=Path, help="folder in which exported networks are kept")
    parser.add_argument("--patience", type=float, help="times the usual limits of GPU sections")
    parser.add_argument("--resume", action="store_true", help="only what --out has not yet (GPU)")
    parser.add_argument(
        "--tune-again", action="store_true", help="choose kernels' configurations in this process"
    )
    parser.add_argument("--dry-run", action="store_true", help="a CPU stands in for the GPU")
    parser.add_argument("--out", type=Path, default=None)
    return settle(parser.parse_args(arguments))


def settle(options: argparse.Namespace) -> argparse.Namespace:
    """Fill in what depends on other options."""
    options.small |= options.dry_run
    gpu_run = options.device != "cpu"
    options.precision = options.precision or ("bf16" if gpu_run else "fp32")
    options.preset = options.preset or ("tiny" if options.small else "paper")
    options.size, options.steps = (32, 2) if options.small else (128, 10)
    options.slices = options.slices or (8 if options.small else 128 if gpu_run else 4)
    few = 3 if options.small else 10 if gpu_run else 5
    options.repeats = options.repeats or few
    options.memory_slices = options.slices if options.small else 128
    options.starts = 2 if options.small else 7
    options.budget = options.budget or (480.0 if gpu_run else 7200.0)
    options.out = options.out or RESULTS / ("latency.json" if gpu_run else "latency_cpu.json")
    options.batches = options.batches or ((8, 4) if options.small else (128, 32))
    return options


def result_of(bench: Bench | CpuBench) -> dict[str, Any]:
    """All that is known by now, JSON-ready."""
    if isinstance(bench, CpuBench):
        known: dict[str, Any] = {"rows": cpu_report.rows(bench.found, bench.failed, bench.skipped)}
    else:
        known = {
            "gpu": gpu(),
            "dry_run": bench.options.dry_run,
            "rows": gpu_report.rows(
                bench.found, bench.failed, bench.skipped, bench.options.dry_run
            ),
            "running": bench.running,
            "states": bench.states,  # of the GPU, at the end of each section
        }
    return {
        "machine": bench.machine,
        **known,
        "subject": subject_of(bench.options),
        "failed": bench.failed,
        "skipped": bench.skipped,
        **bench.found,
    }


def subject_of(options: argparse.Namespace) -> dict[str, Any]:
    """What is measured."""
    return {
        "networks": options.preset,
        "weights": "random",
        "slices": options.slices,
        "size": options.size,
        "steps": options.steps,
        "precision": options.precision,
        "device": options.device,
        "repeats": options.repeats,
    }


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    on_cpu = options.device == "cpu"
    if options.tune_again:
        forget_tuning()
    if options.dry_run:
        from benchmarks.gpu import stand_in

        stand_in.install()
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(options, options.bundles or Path(folder))

        def save() -> None:
            write_json(options.out, result_of(bench))

        try:
            measure(bench, save)
        except DeviceLost as error:
            print(f"the GPU is lost to this process after {error}", file=sys.stderr, flush=True)
            os._exit(BEGIN_AGAIN)  # what is in flight cannot be waited for
    result = result_of(bench)
    print(cpu_report.table(result) if on_cpu else gpu_report.table(result))
    if on_cpu:
        write_beside(options.out, result)
    print(options.out)
    return 1 if bench.failed else 0


def forget_tuning() -> None:
    """Forget which configurations of kernels Inductor took for the fastest, not what it compiled.

    They were timed while other processes were at work, and are kept: the wrong ones would stay.
    """
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    for path in Path(folder).rglob("*.best_config") if folder else ():
        path.unlink(missing_ok=True)


def make_bench(options: argparse.Namespace, bundles: Path) -> Bench | CpuBench:
    """The bench of this device, with what an earlier process found where it is asked to go on."""
    on_cpu = options.device == "cpu"
    wanted = options.sections if on_cpu else options.resume
    earlier = earlier_result(options) if wanted else {}
    folder = kept(bundles, options.preset, options.steps)
    subject = make_subject(options.preset, options.size, options.slices, options.steps, folder)
    bench = CpuBench(options, subject) if on_cpu else Bench(options, subject, bundles)
    resume(bench, earlier)
    return bench


def earlier_result(options: argparse.Namespace) -> dict[str, Any]:
    """What ``--out`` holds already, if it was measured on the same."""
    if not options.out.exists():
        return {}
    earlier: dict[str, Any] = json.loads(options.out.read_text())
    if earlier["subject"] != subject_of(options):
        sys.exit(f"{options.out} is of another subject, {earlier['subject']}: give another --out")
    return earlier


def resume(bench: Bench | CpuBench, earlier: dict[str, Any]) -> None:
    """Take over what another process found; the machine is this one's, as it is now."""
    names = [section.__name__ for section in (ON_GPU if bench.on_gpu else ON_CPU)]
    bench.found = {name: earlier[name] for name in names if name in earlier}
    bench.failed, bench.skipped = earlier.get("failed", {}), earlier.get("skipped", {})
    bench.machine = describe() | load()
    if isinstance(bench, Bench):
        bench.states = earlier.get("states", {})
    if isinstance(bench, CpuBench):
        if warning := busy(bench.machine):
            print(f"warning: {warning}", file=sys.stderr)
    elif running := earlier.get("running"):
        bench.failed[running] = "the process ended in it; see the log"


def write_beside(out: Path, result: dict[str, Any]) -> None:
    """The table and the picture, with the result's name."""
    out.with_suffix(".md").write_text(cpu_report.table(result) + "\n")
    if "volume" in result:
        out.with_suffix(".png").write_bytes(cpu_report.picture(result))


if __name__ == "__main__":
    sys.exit(main())
