"""How the rule for a CPU's cores compares with the other ways to use them.

    python -m benchmarks.parallelism                     # 1, 3, 16 and 128 slices x 1 and 8 samples
    python -m benchmarks.parallelism --cases 1x8 16x1    # some of them
    python -m benchmarks.parallelism --engine onnxruntime --out parallelism_onnxruntime

Before each volume petrt settles how many workers run side by side, how many threads each call has, and how
many images it holds (petrt.inference.cpu.parallelism). Here the same volume runs by the rule and by every
other split of the cores and size of a call that a measurement could choose from, in turns. Each one's
shortest time counts: other programs only ever add. The results are equal to the bit, which is checked.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.common import save
from petrt.arrays import Array
from petrt.bench.timing import interleaved, significant
from petrt.bench.volume import make_volume
from petrt.hardware.cpu import default_threads
from petrt.inference.cpu.parallelism import Parallelism, splits
from petrt.inference.reconstructor import Reconstructor

SLICES, SAMPLES = (1, 3, 16, 128), (1, 8)
# Calls with more threads inside only lose.
MOST_THREADS = 4
# (slices, samples) in one call, by samples of a slice.
BATCHES = {1: ((1, 1), (2, 1)), 8: ((1, 2), (1, 1), (1, 4))}
# Calls of the denoiser on one slice and sample; fewer where the work would take too long.
STEPS, MOST_IMAGES = 10, 2048
BAR = 1.1  # the rule's time over the best one's


class Fixed:
    """A planner that always plans the same; the engines are those of ``planner``."""

    def __init__(self, planner: Any, always: Parallelism) -> None:
        self._always, self.engine = always, planner.engine

    def plan(self, *_: Any) -> Parallelism:
        return self._always


def alternatives(slices: int, samples: int, cores: int) -> Iterator[Parallelism]:
    """Every split of the cores with every size of a call."""
    for workers, threads in splits(cores):
        for batch in BATCHES[samples]:
            if threads <= MOST_THREADS and batch[0] <= slices:
                yield Parallelism(workers, threads, *batch)


def steps_of(slices: int, samples: int) -> int:
    return max(1, min(STEPS, MOST_IMAGES // (slices * samples)))


def runs(
    engine: str, volume: Array, samples: int, cores: int
) -> tuple[dict[str, Callable[[], Any]], str]:
    """What runs ``volume``, by the name of the way; and the name of the rule's way."""
    slices = len(volume)

    def make() -> Reconstructor:
        return Reconstructor(
            "demo",
            engine=engine,
            device="cpu",
            samples=samples,
            steps=steps_of(slices, samples),
            skip_background=False,
            allow_activity_change=True,
        )

    rule = make()
    plan = rule._frames.pipeline.device._planner.plan(volume.shape, slices, samples)
    chosen = dataclasses.replace(plan, because="usual")
    found = {}
    for way in dict.fromkeys([chosen, *alternatives(slices, samples, cores)]):
        fixed = make()
        fixed._frames.pipeline.device._planner = Fixed(fixed._frames.pipeline.device._planner, way)
        found[name_of(way)] = partial(fixed.on_grid, volume)
    return found, name_of(chosen)


def name_of(way: Parallelism) -> str:
    """ "2 workers x 1 thread, 1 x 2 images": workers, threads in a call, slices x samples."""
    workers, threads = way.workers, way.threads
    text = f"{workers} worker{'s' * (workers > 1)} x {threads} thread{'s' * (threads > 1)}"
    return f"{text}, {way.slices} x {way.samples} images"


def measure(engine: str, slices: int, samples: int, repeats: int) -> dict[str, Any]:
    """One case: shortest seconds of each way, and how far the rule's is from the best."""
    volume = np.ascontiguousarray(make_volume(128, 128, slices).transpose(2, 0, 1) / 5000)
    candidates, rule = runs(engine, volume, samples, default_threads())
    images = {name: run() for name, run in candidates.items()}  # the warm-up, too
    for found in images.values():
        for one, other in zip(found, images[rule], strict=True):
            np.testing.assert_array_equal(one, other)
    times = interleaved(candidates, repeats, warm_up=0)
    shortest = {name: min(each.seconds) for name, each in times.items()}
    best = min(shortest, key=shortest.__getitem__)
    return {
        "slices": slices,
        "samples": samples,
        "steps": steps_of(slices, samples),
        "rule": rule,
        "best": best,
        "rule_over_best": round(shortest[rule] / shortest[best], 3),
        "shortest_s": {name: significant(value) for name, value in shortest.items()},
        "median_s": {name: significant(each.median) for name, each in times.items()},
        "repeats": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = [f"{slices}x{samples}" for slices in SLICES for samples in SAMPLES]
    parser.add_argument(
        "--cases", nargs="+", choices=every, default=every, metavar="SLICESxSAMPLES"
    )
    parser.add_argument("--engine", default="native")
    parser.add_argument("--repeats", type=int, default=7, help="half as many of the long ones")
    parser.add_argument("--out", default="parallelism", help="name in benchmarks/results")
    options = parser.parse_args()
    cases = []
    for case in options.cases:
        slices, samples = map(int, case.split("x"))
        long = slices * samples * steps_of(slices, samples) > 1000
        repeats = -(-options.repeats // 2) if long else options.repeats
        cases.append(measure(options.engine, slices, samples, repeats))
        print(json.dumps(cases[-1], indent=2), file=sys.stderr, flush=True)
    result = {
        "model": "demo",
        "engine": options.engine,
        "size": [128, 128],
        "bar": BAR,
        "worst_rule_over_best": max(case["rule_over_best"] for case in cases),
        "met": all(case["rule_over_best"] <= BAR for case in cases),
        "cases": cases,
    }
    print(save(options.out, result))


if __name__ == "__main__":
    main()
