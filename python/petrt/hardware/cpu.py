"""This CPU: its cores, its name and its instruction sets."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from petrt.hardware.groups import GROUPS, PROC, folders, number

# Instruction sets that change the speed of the CPU engines.
ISA = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
)


def default_threads(proc: Path = PROC, groups: Path = GROUPS) -> int:
    """The number of cores that this process may use: those of its affinity, and no more than its control
    groups give it the time of. A container with 1.5 cores gets 2 threads."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([own, *(math.ceil(quota) for quota in _quotas(proc, groups))]))


def _quotas(proc: Path, groups: Path) -> Iterator[float]:
    """The CPU time a second that each control group above this process allows, in cores."""
    for version, folder in folders("cpu", proc, groups):
        if version == 1:
            limit, period = (number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        else:
            limit, period = _cpu_max(folder / "cpu.max")
        if limit is not None and period is not None and limit > 0 and period > 0:
            yield limit / period


def _cpu_max(path: Path) -> tuple[int | None, int | None]:
    """Microseconds of CPU time in a period, and the period; None for "max" and for no file."""
    try:
        limit, period = path.read_text().split()
        return int(limit), int(period)
    except (OSError, ValueError):
        return None, None


def has_bf16() -> bool:
    """Whether this CPU has bfloat16 multiplication (two instruction sets on x86, one on ARM)."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(isa())


def isa() -> list[str]:
    """The instruction sets in ``ISA`` that this CPU has; empty if they are unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.M)
    here = set(flags[1].split()) if flags else set()
    return [name for name in ISA if name in here]


def cpu_model() -> str:
    """The CPU's name, or its architecture if the name is unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return found[1].strip() if found else platform.processor() or platform.machine()
