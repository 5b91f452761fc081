"""The result of a GPU run from what its stages left.

    python -m benchmarks.gpu.stages gpu_NAME_1.json gpu_NAME_2.json --out gpu_NAME.json

Puts the stages' sections, steps and bars into one file, and prints the whole as text.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Of a part of the result, what is no section's.
ABOUT = (
    "machine",
    "gpu",
    "rows",
    "running",
    "subject",
    "failed",
    "skipped",
    "dry_run",
    "steps",
    "stages",
    "states",
)
Result = dict[str, Any]


def read(path: Path) -> Result | None:
    """The JSON of ``path``; None where there is none that can be read."""
    try:
        found: Result = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found


def merge(parts: Iterable[Result]) -> Result:
    """One result of several: a section that one of them has is there, whatever another says of it."""
    merged: Result = {"failed": {}, "skipped": {}, "states": {}, "stages": []}
    for part in parts:
        for key in ("machine", "gpu", "subject", "dry_run"):
            if part.get(key) is not None and merged.get(key) is None:
                merged[key] = part[key]
        for key in ("failed", "skipped", "states"):
            merged[key] |= part.get(key, {})
        merged["stages"] += part.get("stages", [])
        if part.get("running"):
            merged["failed"][part["running"]] = "the process ended in it"
        merged |= {key: value for key, value in part.items() if key not in ABOUT}
    for key in ("failed", "skipped"):
        merged[key] = {name: why for name, why in merged[key].items() if name not in merged}
    merged["skipped"] = {
        name: why for name, why in merged["skipped"].items() if name not in merged["failed"]
    }
    return merged


def with_reasons(result: Result, sections: Iterable[str]) -> Result:
    """The same with a reason for each of ``sections`` that has neither a result nor one."""
    known = {*result, *result["failed"], *result["skipped"]}
    why = {name: "its step ended before it" for name in sections if name not in known}
    return {**result, "skipped": {**result["skipped"], **why}}


def with_rows(result: Result) -> Result:
    """The same with a verdict on each bar; without packages that this needs, as it is."""
    try:
        from benchmarks.latency import gpu_report
    except ImportError:
        return result
    dry = bool(result.get("dry_run"))
    return {**result, "rows": gpu_report.rows(result, result["failed"], result["skipped"], dry)}


def text(result: Result) -> str:
    """The run for people: its steps, then its table."""
    lines = []
    for stage in result["stages"]:
        lines += [
            f"stage {stage['stage']}, {stage['seconds']:.0f} of {60 * stage['minutes']:.0f} s"
            + (", a dry run" if stage.get("dry_run") else ""),
            f"{'step':24}{'from s':>8}{'s':>8}  state",
        ]
        for step in stage["steps"]:
            begun = "-" if step["begun_s"] is None else f"{step['begun_s']:.1f}"
            beside = "; ".join(step[key] for key in ("tests", "why") if step.get(key))
            lines.append(
                f"{step['step']:24}{begun:>8}{step['seconds']:>8.1f}  {step['state']:9} {beside}"
            )
        lines.append("")
    if "rows" in result and result.get("subject"):
        from benchmarks.latency import gpu_report

        lines.append(gpu_report.table(result))
    return "\n".join(lines).rstrip()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    parts = [json.loads(path.read_text()) for path in options.parts]
    result = with_rows(merge(parts))
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
