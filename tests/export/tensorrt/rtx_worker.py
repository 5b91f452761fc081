"""What runs inside the process of ``tests.export.tensorrt.rtx``: builds, told and answered in JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import tensorrt_rtx as trt

from petrt.errors import PetrtError
from petrt.export.tensorrt.plan import Profile, build_plan


def build(models: dict[str, str], profile: dict[str, Any], out: str) -> dict[str, Any]:
    """Build each model (graph -> file) into ``out``/<graph>.plan."""
    report = {}
    for graph, path in models.items():
        percent: list[int] = []
        plan = build_plan(
            trt,
            Path(path).read_bytes(),
            to_profile(profile),
            progress=lambda done, total, percent=percent: percent.append(100 * done // total),
        )
        (Path(out) / f"{graph}.plan").write_bytes(plan.data)
        report[graph] = {
            "seconds": plan.seconds,
            "warnings": plan.warnings,
            "timing_cache": len(plan.timing_cache),
            "percent": percent,
        }
    return report


def refuse(cases: dict[str, dict[str, Any]], profile: dict[str, Any]) -> dict[str, Any]:
    """The error that each build ends with. A case: ``model`` (a file) and options of build_plan."""
    answers = {}
    for name, options in cases.items():
        data = Path(options.pop("model")).read_bytes()
        options["targets"] = [tuple(target) for target in options.get("targets", ())]
        try:
            build_plan(trt, data, to_profile(profile), **options)
            answers[name] = {"kind": "none"}
        except PetrtError as error:
            kind = type(error).__name__
            answers[name] = {"kind": kind, "message": error.message, "hint": error.hint}
    return answers


def cancel(model: str, profile: dict[str, Any], by: str, then: str) -> dict[str, Any]:
    """Cancel a build at its first step, by Ctrl-C or by an error of the callback; build ``then``."""
    steps = 0

    def interrupt(done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if by == "callback":
            raise RuntimeError("the terminal is gone")
        if steps == 1:
            os.kill(os.getpid(), signal.SIGINT)

    caught, sizes = "none", to_profile(profile)
    try:
        build_plan(trt, Path(model).read_bytes(), sizes, progress=interrupt)
    except (KeyboardInterrupt, RuntimeError) as error:
        caught = f"{type(error).__name__}: {error}"
    threads = [t.name for t in threading.enumerate() if t.name.startswith("petrt-build")]
    plan = build_plan(trt, Path(then).read_bytes(), sizes)
    return {"caught": caught, "steps": steps, "threads": threads, "next": len(plan.data)}


def configure(model: str, profile: dict[str, Any], rtx: bool, **options: Any) -> dict[str, Any]:
    """What a build has set in the builder's configuration; without ``rtx`` in a module that, like
    TensorRT, knows no targets."""
    made: list[Any] = []
    create = trt.Builder.create_builder_config
    trt.Builder.create_builder_config = lambda builder: made.append(create(builder)) or made[-1]
    levels: list[Any] = []
    if not rtx:
        del trt.ComputeCapability
        # Of TensorRT alone: TensorRT-RTX drops what is set.
        trt.IBuilderConfig.hardware_compatibility_level = property(
            None, lambda c, v: levels.append(v)
        )
    options["targets"] = [tuple(target) for target in options.get("targets", ())]
    options["timing_cache"] = options.get("timing_cache", "").encode()
    plan = build_plan(trt, Path(model).read_bytes(), to_profile(profile), **options)
    (config,) = made
    count = config.num_compute_capabilities
    return {
        "plan": len(plan.data),
        "warnings": plan.warnings,
        "targets": [config.get_compute_capability(i).name for i in range(count)],
        "tf32": config.get_flag(trt.BuilderFlag.TF32),
        "user_allocation": config.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION),
        "workspace": config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
        "compatibility": [level.name for level in levels],
    }


def to_profile(ranges: dict[str, Any]) -> Profile:
    return Profile(**{name: tuple(sizes) for name, sizes in ranges.items()})


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.load(sys.stdin))))
