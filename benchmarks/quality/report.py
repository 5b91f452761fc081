"""quality.json and its tables in Markdown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.quality import curve, domain, shortcuts_table, strength, uncertainty
from benchmarks.quality.bars import bars
from benchmarks.quality.differences import differences
from benchmarks.quality.figure import NOTICE
from benchmarks.quality.results import Results
from petrt.files.atomic import atomic_write_bytes

Record = dict[str, Any]

COLUMNS = {  # metric -> heading, digits
    "standard.psnr": ("PSNR, dB", 2),
    "standard.ssim": ("SSIM", 4),
    "standard.nmse": ("NMSE", 5),
    "truth.psnr": ("PSNR to truth", 2),
    "activity_ratio": ("activity", 4),
    "grey_bias": ("grey, %", 1),
    "white_bias": ("white, %", 1),
    "lesion_peak_bias": ("SUVpeak, %", 1),
    "sd": ("SD", 5),
}
BASIC = ("standard.psnr", "standard.ssim", "standard.nmse")
VERDICT = {True: "met", False: "missed", None: "not measured"}


def read(path: Path) -> dict[str, Record]:
    """The sections of an earlier run; none where there was no run."""
    return json.loads(path.read_text())["sections"] if path.is_file() else {}


def write(folder: Path, sections: dict[str, Record]) -> Record:
    """Write quality.json and quality.md; differences and bars follow from all sections together."""
    results = Results(sections)
    content = {
        "what": "image quality on held-out subjects",
        "label": NOTICE,
        "bars": bars(results),
        "differences": differences(results),
        "sections": sections,
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, allow_nan=False)
    # Lists of numbers on one line.
    text = re.sub(r"\[[^][{}\"]*\]", lambda found: " ".join(found.group().split()), text)
    atomic_write_bytes(folder / "quality.json", f"{text}\n".encode(), overwrite=True)
    atomic_write_bytes(folder / "quality.md", markdown(content).encode(), overwrite=True)
    return content


def markdown(content: Record) -> str:
    """All tables."""
    sections: dict[str, Record] = content["sections"]
    lines = [
        "# Image quality",
        "",
        f"{NOTICE.capitalize()}. Written by `python -m benchmarks.quality`.",
    ]
    lines += [
        "",
        "Mean ± standard deviation over subjects; protocol `standard` against the full dose.",
    ]
    lines += _bars(content["bars"])
    for prefix, title in (("", "Simulated test subjects"), ("real-", "Real brain, simulated scan")):
        names = [prefix + name for name in ("classical", "bm4d", "model")]
        lines += _methods([sections[n] for n in names if n in sections], prefix, title)
    if "samplers" in sections:
        results = Results(sections)
        for dose in sections["samplers"]["mean_sd"]:
            lines += curve.table(results, dose)
    if "shortcuts" in sections:
        lines += shortcuts_table.table(sections["shortcuts"])
    if "strength" in sections:
        for dose in sections["strength"]["mean_sd"]:
            lines += strength.table(sections["strength"], dose)
    if "rows" in sections:
        lines += _rows(sections["rows"])
    if "calibration" in sections:
        lines += _coverage(sections["calibration"])
    if "uncertainty" in sections:
        lines += uncertainty.markdown(sections["uncertainty"])
    if "domain" in sections:
        lines += domain.table(sections["domain"])
    if content["differences"]:
        lines += _differences(content["differences"])
    return "\n".join(lines) + "\n"


def _bars(found: list[Record]) -> list[str]:
    lines = ["", "## What is asked and what was got", "", "| | asked | got | 95 % interval | |"]
    lines.append("|---" * 5 + "|")
    for bar in found:
        got = "" if bar["got"] is None else f"{bar['got']:+.3g} {bar['unit']}"
        verdict = VERDICT[bar["met"]]
        if "helps" in bar:
            verdict = {True: "helps", False: "harms", None: "no difference shown"}[bar["helps"]]
        cells = [bar["what"], bar["asked"], got, _interval(bar.get("ci95")), verdict]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _view(record: Record) -> str:
    """What part of the volumes a section looked at, by dose where that differs."""
    view = record["settings"]["view"]
    if isinstance(view, str):
        return view
    return "; ".join(f"{dose}: {part}" for dose, part in view.items())


def _methods(here: list[Record], prefix: str, title: str) -> list[str]:
    """A table a dose, of the methods of all these sections together."""
    lines: list[str] = []
    for dose in dict.fromkeys(dose for record in here for dose in record["mean_sd"]):
        rows = {
            method: (numbers, record)
            for record in here
            for method, numbers in record["mean_sd"].get(dose, {}).items()
        }
        shown = [key for key in COLUMNS if any(key in numbers for numbers, _ in rows.values())]
        lines += ["", f"## {title}, {dose} dose", ""]
        lines.append("| | " + " | ".join(COLUMNS[key][0] for key in shown) + " |")
        lines.append("|---" * (len(shown) + 1) + "|")
        for method, (numbers, _) in rows.items():
            cells = [_cell(numbers.get(key), COLUMNS[key][1]) for key in shown]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
    for record in here:
        subjects, view = len(record["subjects"]), _view(record)
        methods = next(iter(record["mean_sd"].values()))
        name = record["settings"].get("model", ", ".join(methods))
        unit = "realisations of the noise" if prefix else "subjects"
        lines += ["", f"{name}: {subjects} {unit}, {view}."]
    return lines


def _rows(record: Record) -> list[str]:
    """Table 2: single sampling and AMS side by side, as in the paper."""
    many = f"AMS-{record['settings']['samples']}"
    heads = [COLUMNS[key][0] for key in BASIC]
    lines = ["", f"## Rows of Table 2, small networks, {_view(record)}", ""]
    columns = ["row", *(f"one sample: {h}" for h in heads), *(f"{many}: {h}" for h in heads)]
    lines += ["| " + " | ".join([*columns, "SD", "M weights", "GMAC"]) + " |"]
    lines.append("|---" * (len(columns) + 3) + "|")
    rows = record["rows"]
    if "b" not in rows and "c" in rows:
        coarse = {"1/100": {"coarse": rows["c"]["mean_sd"]["1/100"]["coarse"]}}
        rows = {**rows, "b": {**rows["c"], "what": "P alone (P of row c)", "mean_sd": coarse}}
    for name in sorted(rows):
        row = rows[name]
        numbers = row["mean_sd"]["1/100"]
        single = numbers.get("one sample", numbers.get("coarse", {}))
        averaged = numbers.get(many, {})
        cells = [_cell(part.get(k), COLUMNS[k][1]) for part in (single, averaged) for k in BASIC]
        cells.append(_cell(averaged.get("sd"), COLUMNS["sd"][1]))
        size = (
            ["", ""]
            if "P of row" in row["what"]
            else [f"{row['weights_million']:.3f}", f"{row['gmac']:.2f}"]
        )
        lines.append("| " + " | ".join([f"({name}) {row['what']}", *cells, *size]) + " |")
    return lines


def _coverage(record: Record) -> list[str]:
    levels = list(next(iter(record["doses"].values()))["coverage"]["samples' std"])
    lines = ["", "## Coverage of the full-dose image, active voxels of the test subjects", ""]
    lines.append("| | " + " | ".join(f"{100 * float(level):g} %" for level in levels) + " |")
    lines.append("|---" * (len(levels) + 1) + "|")
    for dose, tables in record["doses"].items():
        for name, coverage in tables["coverage"].items():
            cells = [f"{100 * coverage[level]['mean']:.1f} %" for level in levels]
            lines.append(f"| {dose}, {name} | " + " | ".join(cells) + " |")
    return lines


def _differences(found: list[Record]) -> list[str]:
    lines = ["", "## Paired differences in PSNR (dB)", "", "| | dose | mean | 95 % interval |"]
    lines.append("|---" * 4 + "|")
    for each in found:
        if each["metric"] != "standard.psnr" or each["on"] == curve.SECTION:
            continue  # the samplers' stand in their own table
        what = each["what"] + (f", {each['method']}" if "method" in each else "")
        where = f"{each['dose']}, real brain" if each["on"].startswith("real") else each["dose"]
        lines.append(f"| {what} | {where} | {each['mean']:+.3f} | {_interval(each['ci95'])} |")
    return lines


def _cell(pair: list[float | None] | None, digits: int) -> str:
    if pair is None or pair[0] is None:
        return ""
    mean, sd = pair
    return f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")


def _interval(ends: list[float] | None) -> str:
    return "" if not ends else f"{ends[0]:+.3g} … {ends[1]:+.3g}"
