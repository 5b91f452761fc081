"""petrt under stress, with the date of each result.

    python -m benchmarks.trust                     # memory, cache, kill, disk: some minutes on one core
    python -m benchmarks.trust kill --kills 1000   # one section, longer
    python -m benchmarks.trust proofs              # the tests that docs/faults.md and docs/trust.md name
    python -m benchmarks.trust fuzz --times 20     # property tests with twenty times as many examples

Each section replaces itself in results/trust.json and leaves the others. The exit code is 1 if a section
does not hold what docs/trust.md says.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_json
from benchmarks.trust import cache, disk, kill, memory, tests_run
from petrt.bench.machine import describe

Section = Callable[[argparse.Namespace], dict[str, Any]]
STRESS: dict[str, Section] = {
    "memory": lambda options: memory.section(options.volumes),
    "cache": lambda options: cache.section(options.processes),
    "kill": lambda options: kill.section(options.kills, options.seed),
    "disk": lambda options: disk.section(),
}
SECTIONS: dict[str, Section] = STRESS | {
    "proofs": lambda options: tests_run.proofs(),
    "fuzz": lambda options: tests_run.fuzz(options.times, options.seed, options.hostile),
}


def measured(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One section's result with its date, machine and seconds."""
    begun = time.perf_counter()
    found = SECTIONS[name](options)
    seconds = round(time.perf_counter() - begun, 1)
    date = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    return {"date": date, "seconds": seconds, **found, "machine": describe()}


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.trust",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION", help=", ".join(SECTIONS)
    )
    parser.add_argument("--volumes", type=int, default=1000, help="of the section memory")
    parser.add_argument("--processes", type=int, default=8, help="of the section cache")
    parser.add_argument("--kills", type=int, default=100, help="of the section kill")
    parser.add_argument("--times", type=float, default=5, help="as many examples, of fuzz")
    parser.add_argument("--hostile", action="store_true", help="of fuzz, only hostile input")
    parser.add_argument("--seed", type=int, default=0, help="of kill and fuzz")
    parser.add_argument("--out", type=Path, default=RESULTS / "trust.json")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    met = True
    for name in options.sections or STRESS:
        found = measured(name, options)
        known = json.loads(options.out.read_text()) if options.out.exists() else {}
        write_json(options.out, {**known, name: found})
        shown = {key: value for key, value in found.items() if not isinstance(value, dict | list)}
        print(name, json.dumps(shown), flush=True)
        met = met and found["met"]
    sys.exit(not met)


if __name__ == "__main__":
    main()
