"""What runs inside the process of ``tests.build.rtx``: builds, told and answered in JSON."""

from __future__ import annotations

import enum
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import tensorrt_bindings

from petrt.build.tensorrt import Profile, build_plan
from petrt.errors import PetrtError


def build(models: dict[str, str], profile: dict[str, Any], out: str) -> dict[str, Any]:
    """Build each model (graph -> file) into ``out``/<graph>.plan."""
    report = {}
    for graph, path in models.items():
        percent: list[int] = []
        plan = build_plan(
            tensorrt_bindings,
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
        try:
            build_plan(tensorrt_bindings, data, to_profile(profile), **options)
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
        build_plan(tensorrt_bindings, Path(model).read_bytes(), sizes, progress=interrupt)
    except (KeyboardInterrupt, RuntimeError) as error:
        caught = f"{type(error).__name__}: {error}"
    threads = [t.name for t in threading.enumerate() if t.name.startswith("petrt-build")]
    plan = build_plan(tensorrt_bindings, Path(then).read_bytes(), sizes)
    return {"caught": caught, "steps": steps, "threads": threads, "next": len(plan.data)}


def configure(model: str, profile: dict[str, Any], rtx: bool, **options: Any) -> dict[str, Any]:
    """What a build asks of the builder's configuration, on a module with or without RTX's own API."""
    module = Recorded(rtx)
    options["targets"] = [tuple(target) for target in options.get("targets", ())]
    options["timing_cache"] = options.get("timing_cache", "").encode()
    plan = build_plan(module, Path(model).read_bytes(), to_profile(profile), **options)
    return {"plan": len(plan.data), "asked": module.asked, "warnings": plan.warnings}


class Capability(enum.IntEnum):
    """The members of tensorrt_rtx.ComputeCapability that name hardware."""

    SM75, SM80, SM86, SM89, SM120 = 75, 80, 86, 89, 120


class Recorded:
    """The bindings with the configuration's calls noted and, as in tensorrt_rtx, its added API."""

    def __init__(self, rtx: bool) -> None:
        self.asked: list[list[Any]] = []
        if rtx:
            self.ComputeCapability = Capability
            real = tensorrt_bindings.BuilderFlag

            class BuilderFlag:
                TF32, REQUIRE_USER_ALLOCATION = real.TF32, "REQUIRE_USER_ALLOCATION"

            self.BuilderFlag = BuilderFlag

    def __getattr__(self, name: str) -> Any:
        return getattr(tensorrt_bindings, name)

    def Builder(self, logger: Any) -> Any:
        return RecordedBuilder(tensorrt_bindings.Builder(logger), self.asked)


class RecordedBuilder:
    def __init__(self, builder: Any, asked: list[list[Any]]) -> None:
        self._builder, self._asked = builder, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def create_builder_config(self) -> Any:
        return RecordedConfig(self._builder.create_builder_config(), self._asked)

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        return self._builder.build_serialized_network(network, config._config)


class RecordedConfig:
    def __init__(self, config: Any, asked: list[list[Any]]) -> None:
        self.__dict__ |= {"_config": config, "_asked": asked}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._asked.append([name, str(value)])
        if hasattr(self._config, name):
            setattr(self._config, name, value)

    def set_flag(self, flag: Any) -> None:
        self._asked.append(["set_flag", str(flag)])

    def clear_flag(self, flag: Any) -> None:
        self._asked.append(["clear_flag", str(flag)])
        self._config.clear_flag(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._asked.append(["set_memory_pool_limit", str(pool), size])
        self._config.set_memory_pool_limit(pool, size)

    def set_compute_capability(self, capability: Any, index: int) -> bool:
        self._asked.append(["set_compute_capability", capability.name, index])
        return True


def to_profile(ranges: dict[str, Any]) -> Profile:
    return Profile(**{name: tuple(sizes) for name, sizes in ranges.items()})


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.load(sys.stdin))))
