"""The machine of a GPU run as JSON: versions, what petrt doctor finds, clocks and temperatures as they are.

    python -m benchmarks.latency.environment OUT.json [--dry-run]

Nothing is changed; what cannot be asked is left out.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import gpu, write_json
from petrt.bench import machine

# As nvidia-smi names them. Limits and clocks explain a time; serial numbers and names are left out.
STATE = (
    "name",
    "driver_version",
    "pstate",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "clocks.max.mem",
    "temperature.gpu",
    "power.draw",
    "power.limit",
    "utilization.gpu",
    "memory.used",
    "clocks_throttle_reasons.active",
    "ecc.mode.current",
    "mig.mode.current",
    "persistence_mode",
)


BRIEF = ("clocks.sm", "temperature.gpu", "power.draw")


def gpu_state(names: tuple[str, ...] = STATE) -> list[dict[str, str]]:
    """Of every GPU, as nvidia-smi tells it; empty where it does not."""
    if shutil.which("nvidia-smi") is None:
        return []
    rows = []
    for name in names:  # one by one: a name that this driver does not know spoils the others
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        if done.returncode == 0:
            rows.append([(name, line.strip()) for line in done.stdout.strip().splitlines()])
    return [dict(each) for each in zip(*rows, strict=True)] if rows else []


def describe() -> dict[str, Any]:
    from petrt.engines.doctor import examine

    return {
        "machine": machine.describe(),
        "gpu": gpu(),
        "state": gpu_state(),
        "doctor": examine().as_json(),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)
    if options.dry_run:
        from benchmarks.gpu import stand_in

        stand_in.install()
    write_json(options.out, {"environment": describe()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
