"""Jobs in a fresh process: what a process that has done other things could not measure.

A process's peak memory is that of all it ever did, its imports are over, and its BLAS has settled
on a number of threads. The child prints events, one JSON object a line; the parent takes the time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from petrt.errors import DeviceError

# What NumPy's BLAS may take its number of threads from.
BLAS_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def call(job: str, arguments: Mapping[str, Any], *, threads: int | None = None) -> dict[str, Any]:
    """What ``job`` of JOBS found, with "events": name -> seconds since the process was started.

    ``threads``: of its BLAS. Raises DeviceError where the job fails, with the last line it said.
    """
    environment = dict(os.environ)
    if threads is not None:
        environment |= {name: str(threads) for name in BLAS_THREADS}
    command = [sys.executable, "-m", "petrt.bench.apart", job, json.dumps(dict(arguments))]
    begun = time.perf_counter()
    found: dict[str, Any] = {}
    events: dict[str, float] = {}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            said = json.loads(line)
            if "event" in said:
                events[said["event"]] = time.perf_counter() - begun
            else:
                found = said
        complaint = child.stderr.read().strip().splitlines()
    if child.returncode != 0:
        why = complaint[-1] if complaint else f"exit code {child.returncode}"
        raise DeviceError(f"measuring {job} in a process of its own failed: {why}")
    return {**found, "events": events}


def event(name: str) -> None:
    """Tell the parent that this has happened just now."""
    print(json.dumps({"event": name}), flush=True)


def peak_bytes() -> int | None:
    """Most memory this process has held at once; None where the system does not tell.

    Not ``ru_maxrss`` first: on Linux a child started by vfork inherits its parent's.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    if found := re.search(r"^VmHWM:\s*(\d+) kB", status, re.M):
        return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reconstruct(options: dict[str, Any], volume: dict[str, int]) -> dict[str, Any]:
    """A volume through a Reconstructor of ``options``. Events: imported, loaded, first slice, done."""
    from petrt.inference.reconstructor import Reconstructor

    event("imported")
    options = {"allow_activity_change": True, **options}  # of a synthetic volume
    reconstructor = Reconstructor(**{**options, "batch": _pair(options.get("batch"))})
    event("loaded")
    from petrt.bench.volume import make_volume

    data = make_volume(volume["height"], volume["width"], volume["slices"])
    event("ready")
    first = True

    def progress(done: int, total: int) -> None:
        nonlocal first
        if first:
            event("first slice")
            first = False

    voxel_mm = reconstructor.bundle.model.domain.voxel_mm
    reconstructor(data, voxel_mm=voxel_mm, progress=progress)
    event("done")
    return {"peak_bytes": peak_bytes()}


def _pair(batch: list[int] | None) -> tuple[int, int] | None:
    return None if batch is None else (batch[0], batch[1])


def gemm(dtype: str, size: int, threads: int) -> dict[str, Any]:
    from petrt.bench.peak_jobs import gemm_here

    return gemm_here(dtype, size, threads)


def bandwidth(threads: int) -> dict[str, Any]:
    from petrt.bench.peak_jobs import bandwidth_here

    return bandwidth_here(threads)


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "reconstruct": reconstruct,
    "gemm": gemm,
    "bandwidth": bandwidth,
}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](**json.loads(sys.argv[2]))), flush=True)
