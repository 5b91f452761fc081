"""A result of ``petrt bench`` as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from petrt.bench.measure import STAGES

Found = Mapping[str, Any]
WIDTH = 80


def text(result: Found) -> str:
    """The whole run, in lines of at most 80 columns."""
    blocks = [
        _machine(result["machine"]),
        [f"warning: {warning}" for warning in result["warnings"]],
        _peaks(result["peaks"]) if result["peaks"] else [],
        _volumes(result),
        _stages(result["candidates"]),
        _memory(result["memory"]) if result["memory"] else [],
        _startup(result["startup"]) if result["startup"] else [],
        _scaling(result["scaling"]) if result["scaling"] else [],
        _left_out(result),
    ]
    return "\n\n".join("\n".join(map(_wrapped, block)) for block in map(list, blocks) if block)


def _wrapped(line: str) -> str:
    return line if len(line) <= WIDTH else textwrap.fill(line, WIDTH, subsequent_indent="  ")


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their content: the first to the left, the others to the right. Where they would
    not fit, what is in the first stands on a line of its own."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    if widths[0] and sum(widths) + 2 * len(widths) - 2 > WIDTH:
        below = grid(("", *head[1:]), [("", *row[1:]) for row in rows])
        return [part for line, rest in zip(lines, below, strict=True) for part in (line[0], rest)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def short(seconds: float | None) -> str:
    """Seconds with three digits, and the unit that suits them."""
    if seconds is None:
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _times(times: float | None) -> str:
    return "-" if times is None else f"{times:.3g} x"


def _machine(found: Found) -> Iterator[str]:
    caches = ", ".join(f"{name} {size}" for name, size in found["caches"].items())
    yield (
        f"{found['cpu']}, {found['cores']} cores, {' '.join(found['isa']) or 'no known ISA'}, "
        f"{caches or 'caches unknown'}, {found['memory_GiB']} GiB"
    )
    governor = found["governor"] or "unknown"
    load = " ".join(map(str, found["load_average"] or ["unknown"]))
    yield f"{found['system']}, Python {found['python']}, governor {governor}, load average {load}"
    yield ", ".join(f"{name} {version}" for name, version in found["versions"].items())


def _peaks(found: Found) -> list[str]:
    threads = str(found["threads"])
    rows = []
    for dtype, rates in found["gemm"].items():
        if isinstance(rates, str):
            rows.append((f"product, {dtype}", rates, "", ""))
        else:
            one, every = (f"{rates[n]['ops_per_s'] / 1e9:.1f} Gop/s" for n in ("1", threads))
            rows.append((f"product, {dtype}", one, every, rates[threads]["by"]))
    for where, by_threads in found["bandwidth"].items():
        for kind in ("copy", "triad"):
            one, every = (f"{by_threads[n][kind] / 1e9:.1f} GB/s" for n in ("1", threads))
            rows.append((f"{kind}, {where}", one, every, "numpy"))
    return grid(("peak", "1 thread", f"{threads} threads", "by"), rows)


def _volumes(result: Found) -> list[str]:
    if not result["candidates"]:
        return []
    settings = result["settings"]
    height, width = settings["size"]
    rows = []
    for name, entry in result["candidates"].items():
        volume, floor = entry["volume"], entry.get("floor", {})
        rows.append(
            (
                name,
                short(volume["median_s"]),
                short(volume["p10_s"]),
                short(volume["p90_s"]),
                short(entry["slice_s"]),
                _times(floor.get("times_floor")),
                percent(floor.get("peak_share")),
                short(entry["load_s"]),
                short(entry["first_run_s"]),
            )
        )
    repeats = min(entry["volume"]["repeats"] for entry in result["candidates"].values())
    head = (
        "median of volumes",
        "volume",
        "p10",
        "p90",
        "a slice",
        "/ floor",
        "of peak",
        "load",
        "first",
    )
    return [
        f"{settings['slices']} slices of {height}x{width} on {result['device']}, model "
        f"{result['model']['name']}, {repeats} interleaved repetitions",
        *grid(head, rows),
    ]


def _stages(candidates: Found) -> list[str]:
    rows = []
    for name, entry in candidates.items():
        for stage in (s for s in STAGES if s in entry["stages"]):
            found = entry["stages"][stage]
            rows.append(
                (
                    f"{name}: {stage}",
                    short(found["median_s"]),
                    percent(found["share"]),
                    short(found.get("call_s")),
                    short(found.get("floor_s")),
                    _times(found.get("times_floor")),
                    percent(found.get("peak_share")),
                )
            )
    if not rows:
        return []
    head = ("stage", "volume", "share", "one call", "floor", "/ floor", "of peak")
    return grid(head, rows)


def _memory(found: Found) -> list[str]:
    rows = [
        (
            name,
            "-" if each["peak_MiB"] is None else f"{each['peak_MiB']} MiB",
            "x".join(map(str, each["volume"])),
        )
        for name, each in found.items()
    ]
    return grid(("peak memory of a process", "most", "volume"), rows)


def _startup(found: Found) -> list[str]:
    events = {"import petrt": found["import_petrt"], **found["process_to"]}
    rows = [
        (name, short(each["median_s"]), short(each["p10_s"]), short(each["p90_s"]))
        for name, each in events.items()
    ]
    return grid((f"from a cold process, {found['candidate']}", "median", "p10", "p90"), rows)


def _scaling(found: Found) -> list[str]:
    lines = [f"cost against each number, {found['candidate']}: largest distance from a line"]
    for axis, each in found.items():
        if axis == "candidate":
            continue
        points = ", ".join(f"{x:g}" for x in each["x"])
        if axis == "threads":
            gains = ", ".join(percent(value) for value in each["efficiency"])
            lines.append(f"  threads {points}: {gains} of each thread gained")
        else:
            apart = ", ".join(f"{k} {v:g} %" for k, v in each["deviation_percent"].items())
            lines.append(f"  {axis} {points}: {apart or 'too few points for a line'}")
    return lines


def _left_out(result: Found) -> list[str]:
    absent = [
        f"absent: {each['name']}: {each['reason']}" + (f" ({each['hint']})" if each["hint"] else "")
        for each in result["absent"]
    ]
    skipped = [f"left out: {name}: {why}" for name, why in result["skipped"].items()]
    return [*absent, *skipped, *(f"note: {note}" for note in result["notes"])]
