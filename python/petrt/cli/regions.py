"""The regions of petrt reconstruct --regions: options, and the table of results."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from petrt.cli.output import Output, cell
from petrt.cli.plan import InputCase, RegionsWanted
from petrt.errors import UsageError

SUFFIXES = (".tsv", ".json")
STATISTICS = ("mean", "peak", "max")


def check_regions(labels: Path | None, table: Path | None, level: float, *, resume: bool) -> None:
    """Raise UsageError for options of regions that contradict each other."""
    if labels is None:
        if table is not None:
            raise UsageError("--regions-out needs regions", "add --regions LABELS.nii.gz")
        return
    if table is not None and not table.name.lower().endswith(SUFFIXES):
        raise UsageError("--regions-out: the table is .tsv or .json", "end its name in one of them")
    if not 0 < level < 1:
        raise UsageError(f"--regions-level is {level:g}", "give a fraction between 0 and 1, as 0.9")
    if resume:
        raise UsageError("--resume does not compare label maps", "leave out --resume or --regions")


def measuring(
    cases: Sequence[InputCase], folders: bool, labels: Path, table: Path | None, level: float
) -> InputCase:
    """The only case, with its regions. Raises UsageError if there are several."""
    if len(cases) != 1 or folders:
        raise UsageError("--regions is for a single input", "reconstruct the inputs one by one")
    return replace(cases[0], regions=RegionsWanted(labels, table, level))


def write_table(path: Path, stats: dict[str, Any], key: str, *, overwrite: bool) -> None:
    """Write the regions in the record ``stats`` as .tsv, or .json with what they are of."""
    from petrt.files.atomic import atomic_write_bytes, atomic_write_json

    found = stats["regions"]
    if path.name.lower().endswith(".json"):
        kept = ("label", "petrt", "model", "dose_fraction", "seed", "samples", "sampler", "preset")
        content = {name: stats[name] for name in kept} | found | {"key": key}
        atomic_write_json(path, content, overwrite=overwrite)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found["rows"][0]), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for row in found["rows"]:
        writer.writerow({k: "n/a" if v is None or v == "" else v for k, v in row.items()})
    atomic_write_bytes(path, text.getvalue().encode(), overwrite=overwrite)


def show_table(stats: dict[str, Any], *, err: bool = False) -> None:
    """Print the regions, with their intervals."""
    found = stats["regions"]
    out = Output(err=err)
    out.print(cell(f"regions, {100 * found['level']:g} % intervals; {stats['label']}"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    frames = len({row["frame"] for row in found["rows"]}) > 1
    for column in (*(("frame",) if frames else ()), "label"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("name")
    for column in ("ml", *STATISTICS):
        table.add_column(column, justify="right")
    for row in found["rows"]:
        values = [_interval(row, statistic) for statistic in STATISTICS]
        first = [str(row["frame"])] if frames else []
        names: list[Any] = [*first, str(row["label"]), cell(row["name"] or ""), f"{row['ml']:.4g}"]
        table.add_row(*names, *values)
    out.print(table)
    if any(row[f"{each}_low"] is not None for row in found["rows"] for each in STATISTICS):
        out.print(
            cell("intervals are corrected for the model's bias: a value may lie outside its own")
        )
    for reason in dict.fromkeys(row["reason"] for row in found["rows"] if row["reason"]):
        out.print(cell(f"no intervals: {reason}"))


def _interval(row: dict[str, Any], statistic: str) -> str:
    """A value, and below it its interval."""
    value, low, high = (row[f"{statistic}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.4g}" if low is None else f"{value:.4g}\n{low:.4g} to {high:.4g}"
