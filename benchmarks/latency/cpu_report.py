"""Bars, verdicts, table and picture of a latency run on a CPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.common import RESULTS
from petrt.bench.floor import EFFECTIVE
from petrt.bench.plot import draw_scaling, draw_stages
from petrt.bench.report import percent, short
from petrt.evaluation.report.figure import DPI, png

Found = Mapping[str, Any]
AXES = ("slices", "samples", "steps")


def rows(found: Found, failed: Found, skipped: Found) -> list[dict[str, Any]]:
    """One row a bar: value, verdict ("met", "missed", or why there is none), and what bounds it."""
    made = []
    for section, what, unit, bar, reach, ceiling, judge in _BARS:
        row: dict[str, Any] = {
            "what": what,
            "unit": unit,
            "bar": f"{'<=' if ceiling else '>='} {bar:g}",
            "reach": reach,
            "value": None,
            "note": "",
        }
        if section in found:
            value, note = judge(found)
            row |= {"value": value, "note": note}
            row["verdict"] = "met" if (value <= bar if ceiling else value >= bar) else "missed"
        else:
            why = failed.get(section) or skipped.get(section) or "not part of this run"
            row["verdict"] = f"not measured: {why}"
        made.append(row)
    return made


def best_of(found: Found) -> str:
    """As CpuBench.best, once ``fast`` has run with it."""
    return str(found["fast"]["engine"])


def _default(found: Found) -> tuple[float, str]:
    volume = found["volume"]
    return _against_eager(volume, volume["default"])


def _best(found: Found) -> tuple[float, str]:
    name = best_of(found)
    ratio, note = _against_eager(found["volume"], name)
    measured = found.get("agreement", {}).get("candidates", {}).get(name)
    return ratio, f"{_agrees(measured)}; {note}"


def _agrees(measured: Found | None) -> str:
    if measured is None:
        return "float32"
    level = measured["psnr_db"]
    return "equals float32" if level is None else f"{level:.0f} dB from float32 (demo model)"


def _against_eager(volume: Found, name: str) -> tuple[float, str]:
    entry = volume["engines"][name]
    eager = volume["baselines"]["eager"]["volume_s"]
    return round(eager / entry["volume"]["median_s"], 3), f"{name}; {bound_by(entry, eager)}"


def bound_by(entry: Found, eager: float) -> str:
    """What the time goes into, how far that is from the peak, and what the peak itself would give."""
    stages, floor = entry["stages"], entry["floor"]
    longest = max(stages, key=lambda stage: float(stages[stage]["median_s"]))
    most = stages[longest]
    text = f"{longest} takes {percent(most['share'])}"
    if most.get("peak_share") is not None:
        text += f", at {percent(most['peak_share'])} of the {floor['peak_of']} peak"
    if floor["floor_s"]:
        text += f"; at the peak, direct convolutions, it would be {eager / floor['floor_s']:.2f} x eager"
    return text


def _fast(found: Found) -> tuple[float, str]:
    fast, few = found["fast"], found["fast"]["fast"]
    stages = few["stages"]
    longest = sorted(stages, key=lambda s: -float(stages[s]["share"]))[:2]
    shares = ", ".join(f"{stage} {percent(stages[stage]['share'])}" for stage in longest)
    text = (
        f"{fast['engine']}, {few['samples']} samples a slice, {few['steps']} call(s) of the denoiser "
        f"each; {shares}; "
        f"{_fast_quality()}"
    )
    return float(fast["times_faster"]["fast"]), text


def _fast_quality() -> str:
    """What the preset loses, where benchmarks/quality has measured it."""
    path = RESULTS / "quality.json"
    bars = json.loads(path.read_text())["bars"] if path.exists() else []
    for bar in bars:
        if bar["what"].startswith("fast - paper"):
            return f"{bar['what']}: {bar['got']:+.4f} dB (quality.json)"
    return "its loss is not in quality.json"


def _peak(found: Found) -> tuple[float, str]:
    volume = found["volume"]
    name = volume["default"]
    floor = volume["engines"][name]["floor"]
    others = ", ".join(
        f"{other} {percent(entry['floor'].get('peak_share'))}"
        for other, entry in volume["engines"].items()
        if other != name
    )
    inside = percent(floor["networks_peak_share"])
    return floor["peak_share"], (
        f"{name}, whole volume by the direct count; inside its networks {inside}; {others}"
    )


def _memory(found: Found) -> tuple[float, str]:
    name, entry = max(found["memory"].items(), key=lambda item: float(item[1]["peak_MiB"]))
    size = "x".join(map(str, entry["volume"]))
    gigabytes = entry["peak_MiB"] * 2**20 / 1e9
    return round(gigabytes, 3), f"{name}, {size}, {entry['samples']} samples, {entry['steps']} step"


def _start(found: Found) -> tuple[float, str]:
    events = found["start"]["process_to"]
    steps = ", ".join(f"{name} {short(events[name]['median_s'])}" for name in events)
    return events["first slice"]["median_s"], f"process to: {steps}"


def _linear(found: Found) -> tuple[float, str]:
    """The worst stage of all; "outside" is what is left over, and judged only within the whole."""
    scales = found["scales"]
    apart = {
        f"{axis}: {stage}": (value, scales[axis]["fastest_percent"][stage])
        for axis in AXES
        for stage, value in scales[axis]["deviation_percent"].items()
        if stage != "outside"
    }
    worst = max(apart, key=lambda name: apart[name][0])
    quick = max(apart, key=lambda name: apart[name][1])
    over = ", ".join(f"{n} {v[0]:g} %" for n, v in apart.items() if v[0] > 5) or "none"
    return apart[worst][0], (
        f"worst {worst}; over 5 %: {over}; of the fastest runs at most {apart[quick][1]:g} % ({quick})"
    )


# section, what, unit, bar, what to reach for, whether it is a ceiling, (value, note) of the result
_BARS: tuple[tuple[Any, ...], ...] = (
    ("volume", "default engine against the unfolded eager loop", "x", 1.5, 1.8, False, _default),
    ("fast", "fastest engine with right images", "x", 3.0, 4.5, False, _best),
    ("fast", "preset fast on the best engine", "x", 7.0, 10.0, False, _fast),
    ("volume", "share of the measured peak", "share", 0.6, None, False, _peak),
    ("memory", "peak memory, 8 samples", "GB", 1.5, None, True, _memory),
    ("start", "cold start to first slice, demo model", "s", 2.0, None, True, _start),
    ("scales", "distance from a line: slices, samples, steps", "%", 5.0, None, True, _linear),
)


def table(result: Found) -> str:
    """The run in Markdown."""
    subject, machine = result["subject"], result["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['isa'])}; "
        f"{subject['networks']} networks, random weights, {subject['slices']} slices of "
        f"{subject['size']} x {subject['size']}, {subject['steps']} steps, no slice skipped; "
        f"medians of {subject['repeats']} interleaved repetitions.",
        "",
        "| | bar | reach for | measured | verdict | |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        value = "-" if row["value"] is None else f"{row['value']:.3g} {row['unit']}"
        reach = "" if row["reach"] is None else f"{row['reach']:g}"
        lines.append(
            f"| {row['what']} | {row['bar']} | {reach} | {value} | {row['verdict']} | {row['note']} |"
        )
    if "volume" in result:
        lines += ["", *_engine_lines(result["volume"])]
    if "compiled" in result:
        compiled = result["compiled"]
        lines += [
            "",
            f"Under torch.compile (first run {compiled['first_run_s']:g} s) the unfolded loop takes "
            f"{short(compiled['volume_s']['compiled'])}, eager in the same rounds "
            f"{short(compiled['volume_s']['eager'])}; {compiled['engine']} is "
            f"{compiled['times_faster']:g} x as fast as the compiled one.",
        ]
    lines += ["", f"Note: {EFFECTIVE}."]
    lines += [f"Failed: {name}: {why}" for name, why in result["failed"].items()]
    lines += [f"Left out: {name}: {why}" for name, why in result["skipped"].items()]
    return "\n".join(lines)


def _engine_lines(volume: Found) -> list[str]:
    eager = volume["baselines"]["eager"]["volume_s"]
    lines = [
        "| | volume | p10 | p90 | against eager | time / floor | of peak | denoiser of peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in volume["engines"].items():
        times, floor = entry["volume"], entry["floor"]
        ratio, over = eager / times["median_s"], floor["times_floor"]
        inside = entry["stages"].get("denoiser", {}).get("peak_share")
        lines.append(
            f"| {name} | {short(times['median_s'])} | {short(times['p10_s'])} | "
            f"{short(times['p90_s'])} | {ratio:.2f} x | {'-' if over is None else over} | "
            f"{percent(floor.get('peak_share'))} | {percent(inside)} |"
        )
    for name, entry in volume["baselines"].items():
        lines.append(
            f"| unfolded: {name}, {entry['slices_measured']} slices, scaled | "
            f"{short(entry['volume_s'])} | | | {eager / entry['volume_s']:.2f} x | | | |"
        )
    lines += [f"\nAbsent: {each['name']}: {each['reason']}" for each in volume["absent"]]
    return lines


def picture(result: Found) -> bytes:
    """PNG of the engines' stages and, where measured, of the scaling."""

    def draw() -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 4.5), dpi=DPI, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        draw_stages(left, result["volume"]["engines"])
        eager = result["volume"]["baselines"]["eager"]["volume_s"]
        left.axvline(eager, color="grey", linestyle="--", label="unfolded eager loop")
        left.legend(fontsize="small")
        if "scales" in result:
            axes = {k: v for k, v in result["scales"].items() if isinstance(v, dict)}
            draw_scaling(right, axes)
        return figure

    return png(draw)
