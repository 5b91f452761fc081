"""The host's share of a volume: everything that ``Reconstructor`` does around the pipeline.

    python -m benchmarks.host                            # this petrt
    python -m benchmarks.host --against FOLDER           # and the petrt in FOLDER, in turns

A pipeline that answers at once stands in for the networks, so what remains is the host's: scale, network
grid, checks, and the way back. 128^3 voxels, one sample. With a GPU this time adds to the GPU's own.
FOLDER holds another version's package ``petrt``, built for this Python.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import ROOT, save

BAR_S = 0.06
SIZE = 128


class Results(NamedTuple):
    """As petrt.inference.device.Results, which versions to compare with may lack."""

    mean: Any
    std: Any
    coarse: Any


class Instant:
    """Stands in for a pipeline and its device; ``spent`` is the time of its own copies, which is not the
    host's."""

    def __init__(self) -> None:
        self.device = self
        self.seconds: dict[str, float] = {}
        self.record: dict[str, Any] = {}
        self.spent = 0.0

    def run(self, grid: Any, *_: Any, **__: Any) -> Results:
        import numpy as np

        started = time.perf_counter()
        results = Results(grid.copy(), np.zeros_like(grid), grid.copy())
        self.spent = time.perf_counter() - started
        return results

    def check_process(self) -> None:
        """It belongs to any process."""

    def times(self, *seconds: Any) -> dict[str, float]:  # by part in later versions, and the total
        return {"total": seconds[-1]}

    report = times  # what versions before Device call it


def measure(repeats: int) -> list[float]:
    """Seconds of each run, the first ones left out."""
    from petrt.bench.volume import make_volume
    from petrt.inference.reconstructor import Reconstructor

    reconstructor = Reconstructor("demo", samples=1)
    instant = reconstructor._frames.pipeline = Instant()
    volume, seconds = make_volume(SIZE, SIZE, SIZE), []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        reconstructor(volume)
        seconds.append(time.perf_counter() - started - instant.spent)
    return seconds[2:]


def apart(folder: Path | None, repeats: int) -> list[float]:
    """``measure`` in a process of its own, with the petrt of ``folder``."""
    environment = dict(os.environ) | ({"PYTHONPATH": str(folder)} if folder else {})
    command = [sys.executable, "-m", "benchmarks.host", "--once", "--repeats", str(repeats)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT
    )
    found: list[float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="folder with another version's package")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=7, help="processes of each version")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measure(options.repeats)))
        return
    versions: dict[str, Path | None] = {"host": None}
    if options.against:
        versions["before"] = options.against.resolve()
    medians: dict[str, list[float]] = {name: [] for name in versions}
    for _ in range(options.rounds):
        for name, folder in versions.items():
            medians[name].append(statistics.median(apart(folder, options.repeats)))
    result = {
        "size": SIZE,
        "runs": options.repeats,
        **{
            f"{name}_s": {
                "median": round(statistics.median(each), 4),
                "fastest": round(min(each), 4),
            }
            for name, each in medians.items()
        },
        "bar_s": BAR_S,
        "met": statistics.median(medians["host"]) <= BAR_S,
    }
    print(json.dumps(result, indent=2))
    print(save("host", result))


if __name__ == "__main__":
    main()
