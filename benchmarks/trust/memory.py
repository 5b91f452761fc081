"""Many small volumes in one process: the resident memory after each of them, and its slope.

A ``Reconstructor`` that stays loaded, as a service keeps it, takes arrays, NIfTI files and DICOM series in
turn, of five sizes. The process is one of its own: ``python -m benchmarks.trust.memory VOLUMES`` prints its
curve.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT
from petrt.bench.volume import make_volume

SIZES = ((32, 32, 3), (32, 32, 6), (40, 32, 4), (48, 40, 3), (24, 32, 5))
POINTS = 40  # of the curve
MOST_GROWTH_MIB = 8.0  # of the second half over the first's end


def section(volumes: int = 1000) -> dict[str, Any]:
    """The curve, the least-squares slope of its second half, and whether it is flat."""
    command = [sys.executable, "-m", "benchmarks.trust.memory", str(volumes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return judged(json.loads(done.stdout))


def judged(curve: list[tuple[int, float]]) -> dict[str, Any]:
    """``curve``: (volumes done, resident MiB)."""
    counts, sizes = np.array(curve, float).T
    late = counts >= counts[-1] / 2
    slope = float(np.polyfit(counts[late], sizes[late], 1)[0])
    growth = float(sizes[-1] - sizes[late][0])
    return {
        "volumes": int(counts[-1]),
        "resident_MiB": curve,
        "slope_KiB_per_volume": round(1024 * slope, 2),
        "growth_of_second_half_MiB": round(growth, 2),
        "bar_MiB": MOST_GROWTH_MIB,
        "met": growth <= MOST_GROWTH_MIB,
    }


def resident_mib() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(volumes: int) -> list[tuple[int, float]]:
    """Reconstruct ``volumes`` volumes in this process."""
    from benchmarks.trust.jobs import write_volume
    from petrt.inference.reconstructor import Reconstructor
    from tests.io.dicom.clinical import clinical

    warnings.simplefilter("ignore")  # the volumes are too small to be heads
    every = max(1, volumes // POINTS)
    curve = []
    reconstruct = Reconstructor("demo", samples=2, threads=1, allow_activity_change=True)
    with tempfile.TemporaryDirectory() as name:
        sources: list[Any] = []
        for number, shape in enumerate(SIZES):
            array, folder = make_volume(*shape), Path(name) / str(number)
            clinical(folder / "series", array.astype(np.float64))
            sources += [array, write_volume(folder / "low.nii.gz", shape), folder / "series"]
        for count in range(1, volumes + 1):
            reconstruct(sources[count % len(sources)])
            if count % every == 0 or count == volumes:
                curve.append((count, round(resident_mib(), 2)))
    return curve


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))
