"""Parameters and operations of every preset and of the shipped models; Table 2 of the paper.

    python -m benchmarks.flops           # needs petrt[train]; seconds, and the same on every machine

Counted, not timed: from PyTorch and from the networks' steps, which must agree. See ``petrt flops``.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console

from benchmarks.common import RESULTS
from petrt.cli.flops import table2_of, tables_of
from petrt.export.bundle import versions
from petrt.files.atomic import atomic_write_json
from petrt.flops.report import CONVENTION, describe, describe_table2
from petrt.flops.subject import count_subject
from petrt.flops.table2 import table2
from petrt.model.bundle import shipped_models
from petrt.nets import PRESETS


def collect() -> dict[str, Any]:
    """Presets with both ways to upsample, shipped models, Table 2; one slice of 128 x 128, one sample."""
    return {
        "versions": versions(),
        "convention": CONVENTION,
        "presets": {name: both(name) for name in PRESETS},
        "models": {name: describe_one(name) for name in shipped_models()},
        "table2": describe_table2(table2()),
    }


def both(preset: str) -> dict[str, Any]:
    """A preset; its folded form also with transposed convolutions."""
    found, other = describe_one(preset), describe_one(preset, "transposed")
    return {**found, "folded_transposed": other["folded"]}


def describe_one(subject: str, upsample: Any = None) -> dict[str, Any]:
    counted = count_subject(subject, upsample=upsample)
    return describe(counted, counted.steps, samples=1)


def main() -> None:
    found = collect()
    console = Console(width=160, highlight=False)
    for each in (*found["presets"].values(), *found["models"].values()):
        for table in tables_of(each):
            console.print(table)
        console.print()
    console.print("Table 2")
    console.print(table2_of(found["table2"]))
    atomic_write_json(RESULTS / "flops.json", found, overwrite=True)
    print(RESULTS / "flops.json")


if __name__ == "__main__":
    main()
