"""Control groups of Linux, versions 1 and 2: what a container or a batch system allows this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")


def folders(kind: str, proc: Path = PROC, groups: Path = GROUPS) -> Iterator[tuple[int, Path]]:
    """Version and folder of each group above this process that may limit ``kind``, "memory" or "cpu".

    Inside a container the path may be the host's, of which only the last part, "/", is mounted.
    """
    try:
        rows = [row.split(":", 2) for row in (proc / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, kinds, path in (row for row in rows if len(row) == 3):
        if kinds == "":
            version, base = 2, groups
        elif kind in kinds.split(","):
            # Usually there is a link with the name of each kind beside "cpu,cpuacct".
            version, base = 1, groups / kind
            base = base if base.is_dir() else groups / kinds
        else:
            continue
        here = base / path.strip("/")
        for folder in (here, *here.parents):
            yield version, folder
            if folder == base:
                break


def number(path: Path) -> int | None:
    """The number in a file; None for "max" and for no file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
