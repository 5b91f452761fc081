"""Bars, verdicts and the table of a latency run on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Found = dict[str, Any]


def _psnr(precision: str) -> Callable[[Found], float | None]:
    """The worst agreement of any engine and model in ``precision``; bit-equal counts as 999 dB."""

    def worst(found: Found) -> float | None:
        values = [
            999.0 if entry["psnr_db"] is None else float(entry["psnr_db"])
            for section in ("agreement", "agreement_demo")
            for name, entry in found.get(section, {}).items()
            if name.endswith(precision) and "psnr_db" in entry
        ]
        return min(values) if values else None

    return worst


def _volume(found: Found) -> float:
    return min(float(entry["median_s"]) for entry in found["volume"]["engines"].values())


# what, unit, section, value, bar, whether the bar is a ceiling, whether it is for a GPU only
_BARS: tuple[tuple[str, str, str, Callable[[Found], float | None], float, bool], ...] = (
    ("volume, one sample", "s", "volume", _volume, 0.40, True),
    (
        "against the unfolded eager loop, batch 1",
        "x",
        "eager",
        lambda f: f["eager"]["times_faster"],
        50.0,
        False,
    ),
    (
        "against the unfolded networks under torch.compile, best batch",
        "x",
        "compiled",
        lambda f: f["compiled"]["times_faster"],
        1.2,
        False,
    ),
    ("time outside the networks", "share", "outside", lambda f: f["outside"]["share"], 0.03, True),
    ("AMS-8 over one sample", "x", "ams", lambda f: f["ams"]["ratio"], 6.5, True),
    ("agreement with the CPU, fp32", "dB", "agreement", _psnr("fp32"), 60.0, False),
    ("agreement with the CPU, bf16", "dB", "agreement", _psnr("bf16"), 45.0, False),
)


def rows(
    found: Found, failed: dict[str, str], skipped: dict[str, str], dry_run: bool = False
) -> list[dict[str, Any]]:
    """One row a bar: value and verdict ("met", "missed", or why there is none).

    In a dry run there is no verdict: its times are those of a stand-in.
    """
    made = []
    for what, unit, section, value, bar, ceiling in _BARS:
        row: dict[str, Any] = {
            "what": what,
            "unit": unit,
            "bar": f"{'<=' if ceiling else '>='} {bar:g}",
        }
        number = value(found) if section in found else None
        row["value"] = number
        if number is None:
            why = failed.get(section) or skipped.get(section) or "not part of this run"
            row["verdict"] = f"not measured: {why}"
        elif dry_run:
            row["verdict"] = "none: a dry run"
        else:
            row["verdict"] = "met" if (number <= bar if ceiling else number >= bar) else "missed"
        made.append(row)
    return made


def table(result: dict[str, Any]) -> str:
    """The run as text."""
    gpu, subject = result.get("gpu"), result["subject"]
    where = (
        f"{gpu['name']}, driver {gpu['driver']}, torch {gpu['torch']}, CUDA {gpu['cuda']}"
        if gpu
        else result["machine"]["cpu"]
    )
    lines = [
        where,
        f"{subject['networks']} networks, {subject['slices']} slices of {subject['size']} x "
        f"{subject['size']}, {subject['steps']} steps, {subject['precision']}",
        "",
        f"{'':62}{'bar':>10}{'value':>12}  verdict",
    ]
    for row in result["rows"]:
        value = "-" if row["value"] is None else f"{row['value']:.4g} {row['unit']}"
        lines.append(f"{row['what']:62}{row['bar']:>10}{value:>12}  {row['verdict'][:60]}")
    volume = result.get("volume", {})
    lines += ["", "engine            median s     p90 s   GPU memory"]
    for name, entry in volume.get("engines", {}).items():
        held = volume["device_bytes_held"][name]
        memory = "" if held is None else f"{held / 2**30:>9.2f} GiB"
        lines.append(f"{name:16}{entry['median_s']:>10.4g}{entry['p90_s']:>10.4g}{memory}")
    lines += [f"{name:16}absent: {why[:90]}" for name, why in volume.get("absent", {}).items()]
    for section, lines_of in _MORE.items():
        if section in result:
            lines += lines_of(result[section])
    lines += [f"failed: {name}: {why}" for name, why in result["failed"].items()]
    lines += [f"skipped: {name}: {why}" for name, why in result["skipped"].items()]
    return "\n".join(lines)


def _compiled_lines(compiled: Found) -> list[str]:
    before, after = (compiled[when]["pipeline"]["median_s"] for when in ("before", "after"))
    lines = [
        "",
        f"the same planes through petrt: {before:.4g} s before the compiled baseline, {after:.4g} s "
        f"beside it; a volume {compiled['volume']['median_s']:.4g} s",
    ]
    for batch, entry in compiled["batches"].items():
        lines.append(f"compiled, batch {batch:4}{entry['median_s']:>7.4g}{entry['p90_s']:>10.4g}")
    return lines


def _agreement_lines(agreement: Found) -> list[str]:
    lines = [""]
    for name, entry in agreement.items():
        if "absent" in entry:
            lines.append(f"{name:16}absent: {entry['absent'][:90]}")
            continue
        given, drawn = (
            "equal" if entry[key] is None else f"{entry[key]} dB" for key in ("psnr_db", "drawn_db")
        )
        bits = "the same bits every run" if entry["same_bits"] else "BITS CHANGE FROM RUN TO RUN"
        launches = entry["launches"]["mode"]
        lines.append(f"{name:16}given noise {given}, drawn noise {drawn}, {bits}, {launches}")
    return lines


def _variant_lines(variant: Found) -> list[str]:
    options = ", ".join(f"{name} {value}" for name, value in variant["options"].items())
    return [f"{options}: {variant['times_faster']:.4g} x as fast as without"]


def _profile_lines(profile: Found, most: int = 25) -> list[str]:
    lines = [
        "",
        f"kernels of a batch of {profile['batch'][0]} x {profile['batch'][1]}, plain launches: "
        f"{profile['kernel_ms']:.4g} ms of {profile['span_ms']:.4g} ms",
        f"{'calls':>7}{'ms':>10}{'share':>8}{'copy':>7}{'matmul':>8}  kernel",
    ]
    kinds = [{"kernel": f"all of kind {k}", **v} for k, v in profile["by_kind"].items()]
    for row in [*kinds, *profile["kernels"][:most]]:
        copy, matmul = (
            f"{100 * row[key]:.0f} %" if key in row else "-"
            for key in ("of_copy_bandwidth", "of_matmul_peak")
        )
        share = f"{100 * (row['share'] or 0):.1f} %"
        lines.append(
            f"{row['calls']:>7}{row['ms']:>10.4g}{share:>8}{copy:>7}{matmul:>8}  "
            f"{row['kernel'][:70]}"
        )
    return lines


def _counter_lines(counters: Found, most: int = 15) -> list[str]:
    lines = ["", f"counted of {counters['of']}", f"{'calls':>7}{'ms':>10}{'GB/s':>8}  kernel"]
    for row in counters["kernels"][:most]:
        rate = "-" if row["GB_per_s"] is None else f"{row['GB_per_s']:.0f}"
        lines.append(f"{row['calls']:>7}{row['ms']:>10.4g}{rate:>8}  {row['kernel'][:70]}")
    return lines


def _loop_lines(outside: dict[str, Any]) -> list[str]:
    loop = outside["loop"]
    lines = ["", f"a batch of {loop['batch'][0]} slices x {loop['batch'][1]} samples, CUDA events"]
    for name in ("graph", "plain", "graph_empty", "plain_empty"):
        if name in loop:
            lines.append(f"{name:16}{loop[name]['median_s']:>10.4g}{loop[name]['p90_s']:>10.4g}")
    lines.append(f"outside with the host's share: {100 * outside['share_with_host']:.1f} %")
    return lines


def _peak_lines(peaks: dict[str, Any]) -> list[str]:
    lines = ["", f"copy bandwidth {peaks['copy_GB_per_s']} GB/s"]
    for row in peaks["kernels"]:
        share = f"{100 * row['of_copy_bandwidth']:.0f} % of the copy's"
        lines.append(f"{row['kernel']:16}{row['GB_per_s']:>10.1f} GB/s, {share}")
    share = 100 * peaks["share_of_matmul_peak"]
    lines.append(
        f"whole run: {peaks['volume_Tflop']} Tflop (folded), {share:.1f} % of the measured matmul "
        f"peak, {peaks['matmul_peak_Tflops']} Tflop/s"
    )
    return lines


# What follows the bars, section by section.
_MORE: dict[str, Callable[[Found], list[str]]] = {
    "compiled": _compiled_lines,
    "outside": _loop_lines,
    "agreement": _agreement_lines,
    "agreement_demo": _agreement_lines,
    "peaks": _peak_lines,
    "upsample_transposed": _variant_lines,
    "batches_of_32": _variant_lines,
    "profile": _profile_lines,
    "counters": _counter_lines,
}
