"""The two stages of a GPU run as steps: what runs when, beside what, and for how long at most."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.gpu.steps import Step

ROOT = Path(__file__).resolve().parents[2]
MINUTES = {1: 7.0, 2: 6.0}
SECTIONS = {
    1: ("volume", "compiled", "eager", "outside", "peaks"),
    2: ("ams", "profile", "upsample_transposed", "batches_of_32"),
}
CHECKED = ("agreement", "agreement_demo")
# Variants of benchmarks.latency.compile_networks: those that stage 1 times, and those that stage 2 needs.
FIRST = ("petrt", "unfolded", "unfolded-small")
LATER = ("fp32", "ams", "demo", "transposed", "batches")
KERNEL_TESTS = (
    "tests/core/test_cuda_ops.py",
    "tests/core/test_cuda_loop.py",
    "tests/core/test_cuda_loop_order.py",
    "tests/core/test_cuda_runtime.py",
)
GIB_A_PROCESS = 10  # of GPU memory, that a paper-size network may take while it is compiled


@dataclass(frozen=True)
class Run:
    """What a stage is planned for.

    ``until``: its end in seconds since 1970. ``exclusive``: the GPU takes one process at a time.
    ``compiling``: networks that are compiled side by side.
    """

    stage: int
    minutes: float
    until: float
    work: Path
    wheels: Path | None = None
    dry_run: bool = False
    exclusive: bool = False
    compiling: int = 1

    @property
    def patience(self) -> float:
        """How much longer than usual everything may take, where there are more minutes."""
        return self.minutes / MINUTES[self.stage]

    @property
    def later(self) -> tuple[str, ...]:
        """A dry run compiles nothing: one variant shows that the command works."""
        return ("ams",) if self.dry_run else LATER

    @property
    def results(self) -> Path:
        """What the steps of this stage leave, each in a JSON file of its own."""
        return self.work / f"stage{self.stage}"


def plan(run: Run) -> list[Step]:
    """The steps in the order of their weight; a step that runs alone waits for all before it."""
    steps = [*_prepare(run), *(_first(run) if run.stage == 1 else _second(run))]
    return [replace(step, pool="gpu") for step in steps] if run.exclusive else steps


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compiling(gpu_gib: float | None) -> int:
    """How many networks are compiled at once: half the cores, and what fits into the GPU's memory."""
    most = max(1, int(gpu_gib // GIB_A_PROCESS)) if gpu_gib else cores()
    return max(1, min(cores() // 2, most))


def _prepare(run: Run) -> list[Step]:
    modules = _python(
        run, "modules", "gpu.modules", "--work", str(run.work), limit=150, needs=("packages",)
    )
    if run.dry_run:
        load = ["-c", "from benchmarks.gpu import stand_in; print(stand_in.install())"]
        modules = Step(
            "modules",
            [sys.executable, *load],
            120,
            needs=("packages",),
            environment={"PYTHONPATH": _path(ROOT)},
            stand_in=_TWIN,
        )
    wheels = ["--wheels", str(run.wheels)] if run.wheels else []
    packages = _python(
        run, "packages", "gpu.packages_step", "--site", str(run.work / "site"), *wheels, limit=60
    )
    networks = _networks(run, "none", needs=("modules",), limit=60, name="networks")
    return [packages, modules, networks]


def _first(run: Run) -> list[Step]:
    """Kernel tests while everything is compiled; then the times, with the GPU to themselves."""
    environment = _python(
        run,
        "environment",
        "latency.environment",
        str(run.results / "environment.json"),
        *(["--dry-run"] if run.dry_run else []),
        limit=60,
        needs=("modules",),
        stand_in=_TWIN if run.dry_run else None,
    )
    kernels = _tests(run, "kernels", KERNEL_TESTS, limit=120, stand_in_only="twin")
    compiling = [_networks(run, variant) for variant in FIRST]
    ahead = [_networks(run, variant, niceness=10, resumes=False) for variant in run.later]
    times = _sections(run, "times", SECTIONS[1], alone=True, latest=220 * run.patience)
    return [environment, *compiling, kernels, *ahead, times]


def _second(run: Run) -> list[Step]:
    """What only has to be right, side by side; then times again, and last the GPU's own counters."""
    compiling = [_networks(run, variant) for variant in ("petrt", *run.later)]
    agreement = _sections(
        run, "agreement", CHECKED, after=[f"compile-{v}" for v in ("petrt", "fp32", "demo")]
    )
    tests = "tests/gpu/test_engines.py"
    precisions = ("bf16", "fp32", "fp16")
    engines = [
        _tests(
            run,
            f"engines-{each}",
            [tests, "-k", each],
            limit=150,
            niceness=5,
            stand_in_only="agrees_with_the_cpu and torch-fp32",
        )
        for each in precisions[: 1 if run.dry_run else 3]
    ]
    other = _tests(
        run,
        "engines-batches",
        [tests, "-k", f"not {' and not '.join(precisions)}"],
        limit=120,
        niceness=5,
        stand_in_only="batches_in_flight",
    )
    checks = [_sanitizer(run, tool) for tool in ("memcheck", "racecheck")]
    times = _sections(run, "times", SECTIONS[2], alone=True, latest=210 * run.patience)
    rest = [] if run.dry_run else [other]
    return [*compiling, agreement, *engines, *rest, *checks, times, *_counters(run)]


_TWIN = "petrt's CUDA module on host memory, ONNX Runtime as the engine"


def _path(*folders: Path) -> str:
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*map(str, folders), *([before] if before else [])])


def _python(
    run: Run, name: str, module: str, *arguments: str, limit: float, **options: object
) -> Step:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return Step(name, command, limit * run.patience, **options)  # type: ignore[arg-type]


def _measured(run: Run) -> list[str]:
    """Options that every process gives the parser of benchmarks.latency, so that all mean the same
    networks."""
    return ["--bundles", str(run.work / "bundles"), *(["--dry-run"] if run.dry_run else [])]


def _networks(
    run: Run,
    variant: str,
    *,
    name: str = "",
    needs: Sequence[str] = ("networks",),
    limit: float = 200,
    niceness: int = 0,
    resumes: bool = True,
) -> Step:
    threads = max(2, cores() // run.compiling)  # of each; Inductor's own choice is all cores
    return _python(
        run,
        name or f"compile-{variant}",
        "latency.compile_networks",
        variant,
        *_measured(run),
        limit=limit,
        needs=needs,
        pool="compile",
        niceness=niceness,
        resumes=resumes,
        environment=_eager(run) | {"TORCHINDUCTOR_COMPILE_THREADS": str(threads)},
        stand_in=f"{_TWIN}, nothing is compiled" if run.dry_run else None,
    )


def _eager(run: Run) -> dict[str, str]:
    """In a dry run torch.compile hands back what it got: compiling for a CPU would tell nothing."""
    return {"TORCHDYNAMO_DISABLE": "1"} if run.dry_run else {}


def _sections(run: Run, name: str, sections: Sequence[str], **options: object) -> Step:
    out = run.results / f"{name}.json"
    return _python(
        run,
        name,
        "latency",
        *_measured(run),
        "--sections",
        *sections,
        "--out",
        str(out),
        *(["--tune-again"] if options.get("alone") else []),
        "--patience",
        f"{run.patience:g}",
        "--until",
        f"{run.until - 10:.0f}",
        limit=run.minutes * 60 / run.patience,
        needs=("networks",),
        unfinished=undecided(out, sections),
        again=("--resume",),
        attempts=len(sections) + 1,
        environment=_eager(run),
        stand_in=f"{_TWIN}, PyTorch on the CPU" if run.dry_run else None,
        **options,
    )


def undecided(out: Path, sections: Sequence[str]) -> Callable[[], bool]:
    """Whether a section has neither a result nor a reason yet."""

    def left() -> bool:
        try:
            result = json.loads(out.read_text())
        except (OSError, ValueError):
            return False  # it never came so far, and would not the next time
        known = {*result, *result["failed"], *result["skipped"]}
        return any(name not in known and name != result.get("running") for name in sections)

    return left


def _tests(
    run: Run,
    name: str,
    which: Sequence[str],
    *,
    limit: float,
    stand_in_only: str,
    tool: Sequence[str] = (),
    needs: Sequence[str] = ("modules",),
    niceness: int = 0,
) -> Step:
    """pytest; the machine's own versions decide what warns, so warnings are shown and not fatal."""
    pytest = [sys.executable, "-m", "pytest", "-W", "default", "-rs", "-q", *which]
    if not run.dry_run:
        return Step(
            name,
            [*tool, *pytest, "-m", "gpu", "-p", "no:cacheprovider"],
            limit * run.patience,
            needs=needs,
            niceness=niceness,
            environment={"PETRT_REQUIRE_GPU": "1"},
        )
    files = [each for each in which if each.startswith("tests/")]
    kernels = files[0].startswith("tests/core")
    only = [
        "-k",
        stand_in_only,
        *(["-m", "not gpu"] if kernels else ["-m", "gpu", "-p", "benchmarks.gpu.stand_in"]),
    ]
    command = [sys.executable, "-m", "pytest", "-W", "default", "-q", *files, *only]
    return Step(
        name,
        command,
        limit,
        needs=needs,
        stand_in=f"{_TWIN}: {stand_in_only}",
        environment={"PYTHONPATH": _path(ROOT)},
    )


def _sanitizer(run: Run, tool: str) -> Step:
    prefix = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
    return _tests(
        run,
        tool,
        KERNEL_TESTS[:2],
        limit=110,
        tool=prefix,
        stand_in_only="twin and loop" if tool == "memcheck" else "twin and step",
    )


def _counters(run: Run) -> list[Step]:
    """Nsight Compute over one batch's kernels, where it is installed; clocks stay as they are."""
    if shutil.which("ncu") is None or run.dry_run:
        return []
    out = str(run.results / "counters.json")
    return [
        _python(
            run,
            "counters",
            "latency.counters",
            *_measured(run),
            "--out",
            out,
            limit=60,
            needs=("networks",),
            alone=True,
        )
    ]
