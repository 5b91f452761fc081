"""Main memory: what this process has, and what it can still take, in bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Of what is available, the share that reconstruction takes by default.
SHARE = 0.8


def resident() -> int | None:
    """Bytes of this process in memory now; None where Linux does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def available(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
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
    """What is left in each memory control group (version 1 or 2) above this process.

    Inside a container the path may be the host's, of which only the last part, "/", is mounted.
    """
    try:
        rows = [row.split(":", 2) for row in (proc / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, kinds, path in (row for row in rows if len(row) == 3):
        if kinds == "":
            base, names = groups, ("memory.max", "memory.current")
        elif "memory" in kinds.split(","):
            base, names = groups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        here = base / path.strip("/")
        for folder in (here, *here.parents):
            limit, used = (_number(folder / name) for name in names)
            if limit is not None and used is not None:
                yield max(limit - used + _reclaimable(folder / "memory.stat"), 0)
            if folder == base:
                break


def _reclaimable(stat: Path) -> int:
    """Pages of files, which count as used but are given back when memory is wanted."""
    try:
        rows = dict(line.split(" ", 1) for line in stat.read_text().splitlines() if " " in line)
        return int(rows.get("total_inactive_file", rows.get("inactive_file", "0")))
    except (OSError, ValueError):
        return 0


def _number(path: Path) -> int | None:
    """The number in a file; None for "max" and for no file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
