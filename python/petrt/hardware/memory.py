"""Main memory: what this process has, and what it can still take, in bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from petrt.hardware.groups import GROUPS, PROC, folders, number

# Of what is available, the share that reconstruction takes by default.
SHARE = 0.8


def resident() -> int | None:
    """Bytes of this process in memory now; None where Linux does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def available(proc: Path = PROC, groups: Path = GROUPS) -> int | None:
    """Bytes this process can still take: what the system has, and no more than its control groups allow.

    None where Linux does not tell.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    return min([free, *_left_in_groups(proc, groups)])


def _left_in_groups(proc: Path, groups: Path) -> Iterator[int]:
    """What is left in each memory control group (version 1 or 2) above this process."""
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        2: ("memory.max", "memory.current"),
    }
    for version, folder in folders("memory", proc, groups):
        limit, used = (number(folder / name) for name in names[version])
        if limit is not None and used is not None:
            yield max(limit - used + _reclaimable(folder / "memory.stat"), 0)


def _reclaimable(stat: Path) -> int:
    """Pages of files, which count as used but are given back when memory is wanted."""
    try:
        rows = dict(line.split(" ", 1) for line in stat.read_text().splitlines() if " " in line)
        return int(rows.get("total_inactive_file", rows.get("inactive_file", "0")))
    except (OSError, ValueError):
        return 0
