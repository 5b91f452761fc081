"""What docs/trust.md shows of results/trust.json and of the policy, as Markdown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "trust.json"
NOT_YET = "This section has not been run yet.\n"
GROUPS = ("hostile input", "properties")
TITLES = {
    "psnr_db": "PSNR, dB",
    "psnr_worst_db": "PSNR of the worst subject, dB",
    "ssim": "SSIM",
    "peak_points": "SUVpeak bias of hot lesions, points",
    "time_ratio": "time",
    "activity_percent": "total activity, %",
    "activity_worst_percent": "total activity of the worst subject, %",
    "grey_percent": "mean of grey matter, %",
    "white_percent": "mean of white matter, %",
    "peak_percent": "SUVpeak of hot lesions, %",
    "coverage_percent": "coverage of calibrated 90 % intervals, %",
    "difference_percent": "largest difference of a voxel, % of the maximum",
}


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines) + "\n"


def stress() -> str:
    """What must not be, what was, and the date of each section."""
    found, rows = results(), []
    for name, told in (("memory", _memory), ("cache", _cache), ("kill", _kill), ("disk", _disk)):
        if name not in found:
            continue
        section = found[name]
        what, outcome = told(section)
        rows.append((what, outcome, "yes" if section["met"] else "**no**", section["date"][:10]))
    head = table(("what was done", "what came of it", "holds", "date"), rows)
    return "\n".join([head, _kills(found["kill"])] if "kill" in found else [head])


def _memory(section: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{section['volumes']:,} small volumes in one process: arrays, NIfTI, DICOM, five sizes",
        f"resident memory changed by {section['growth_of_second_half_MiB']:+g} MiB in the second half "
        f"(at most {section['bar_MiB']:+g}), {section['slope_KiB_per_volume']:+g} KiB a volume; "
        f"{section['resident_MiB'][-1][1]:.0f} MiB at the end",
    )


def _cache(section: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{section['processes']} processes at once on one cold cache ({section['engine']})",
        f"exit codes {section['exit_codes']}, {section['different_outputs']} kind of output; "
        f"{section['without_the_cache']} went on without the cache; the one after them changed nothing in it",
    )


def _kill(section: dict[str, Any]) -> tuple[str, str]:
    faults = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in section["faults"].items())
    return f"SIGKILL, {section['kills']} times", faults


def _disk(section: dict[str, Any]) -> tuple[str, str]:
    codes = sorted({row["exit_code"] for row in section["rows"]})
    where = "a tmpfs that is too small, " if section["tmpfs"] else ""
    kept = sum(row["met"] for row in section["rows"])
    return (
        f"{section['runs']} runs on {where}under a limit of the size of a file, and to /dev/full",
        f"exit codes {codes}, one line each, nothing half written, the next run succeeds: {kept} of "
        f"{section['runs']}",
    )


def _kills(section: dict[str, Any]) -> str:
    head = ("killed while it wrote", "kills", "outputs old", "some new", "all new", "scratch left")
    keys = ("killed", "none_new", "some_new", "all_new", "left_by_the_kill")
    rows = [(job, *(each[key] for key in keys)) for job, each in section["jobs"].items()]
    return table(head, rows)


def proofs() -> str:
    found = results().get("proofs")
    if found is None:
        return NOT_YET
    rows = [
        (f"[{Path(page).stem}]({Path(page).name})", each["rows"], each["tests"], each["passed"])
        for page, each in found["pages"].items()
    ]
    text = table(("page", "rows", "tests", "rows whose tests pass"), rows)
    return f"{text}\nRun on {found['date'][:10]}.{_left_out(found['pages'])}\n"


def _left_out(pages: dict[str, Any]) -> str:
    bad = {
        node: s
        for page in pages.values()
        for row in page["not_passed"].values()
        for node, s in row.items()
    }
    if not bad:
        return ""
    told = ", ".join(f"`{node}` ({state})" for node, state in sorted(bad.items()))
    return f" Not passed there: {told}."


def fuzzing() -> str:
    found = results().get("fuzz")
    if found is None:
        return NOT_YET
    groups = [
        (name, found[name]["tests"], f"{found[name]['examples']:,}")
        for name in GROUPS
        if name in found
    ]
    text = table(("what is drawn", "tests", "examples"), groups)
    failed = ", ".join(f"`{node}`" for node in found["failed"]) or "none"
    return f"{text}\n{found['times']:g} times the usual examples, {found['date'][:10]}. Failed: {failed}.\n"


def policy() -> str:
    """The bars of policy.toml."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.accept.policy import read_policy

        bars = read_policy().model_dump()
    finally:
        sys.path.pop(0)
    least, most = {"psnr_db", "psnr_worst_db", "ssim"}, "at most"
    rows = []
    for name, against in (
        ("against_old", "new less old"),
        ("absolute", "the new one against full dose"),
        ("engine", "the engine against float32"),
    ):
        for key, value in bars[name].items():
            word = "at least" if key in least else "within ±" if name == "absolute" else most
            compared = "new over old" if key == "time_ratio" else against
            rows.append((TITLES[key], compared, _bar(word, value)))
    return table(("figure", "compared", "bar"), rows)


def _bar(word: str, value: object) -> str:
    if isinstance(value, dict):
        return f"{word} " + ", ".join(f"{number:g} ({kind})" for kind, number in value.items())
    if isinstance(value, tuple):
        return f"{value[0]:g} to {value[1]:g}"
    return f"{word}{'' if word.endswith('±') else ' '}{value:g}"
