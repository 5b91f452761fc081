"""This CPU: its cores, its name and its instruction sets."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

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


def default_threads() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
