"""From nothing to the first slice, and peak memory: each in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from petrt.bench import apart
from petrt.bench.timing import Times, significant

IMPORT = "import time; t = time.perf_counter(); import petrt; print(time.perf_counter() - t)"
EVENTS = ("imported", "loaded", "first slice", "done")


def import_times(repeats: int) -> Times:
    """Seconds of ``import petrt`` in fresh interpreters, their own start left out."""
    command = [sys.executable, "-c", IMPORT]
    return Times([float(subprocess.check_output(command, text=True)) for _ in range(repeats)])


def cold_start(
    model: str, options: Mapping[str, Any], size: tuple[int, int], slices: int, repeats: int
) -> dict[str, Any]:
    """Seconds from the start of a process until each event; the files are in the system's cache.

    "first slice" is when the first slice of a volume is done: interpreter, imports, model and the
    synthesis of the volume are inside.
    """
    runs = [reconstruct_apart(model, options, size, slices)["events"] for _ in range(repeats)]
    return {
        "import_petrt": import_times(repeats).record(),
        "process_to": {name: Times([run[name] for run in runs]).record() for name in EVENTS},
    }


def peak_memory(
    model: str, options: Mapping[str, Any], size: tuple[int, int], slices: int
) -> dict[str, Any]:
    """Most bytes that a process which reconstructs one such volume holds, its input and outputs included."""
    found = reconstruct_apart(model, options, size, slices)
    peak = found["peak_bytes"]
    return {
        "peak_MiB": None if peak is None else round(peak / 2**20),
        "seconds": significant(found["events"]["done"]),
        "volume": [*size, slices],
        "samples": options.get("samples", 1),
        "steps": options.get("steps"),
    }


def reconstruct_apart(
    model: str, options: Mapping[str, Any], size: tuple[int, int], slices: int
) -> dict[str, Any]:
    """One volume in a process of its own; see ``petrt.bench.apart.reconstruct``."""
    volume = {"height": size[0], "width": size[1], "slices": slices}
    return apart.call("reconstruct", {"options": {**options, "model": model}, "volume": volume})
