"""The sections of a case's page, from its volumes and record."""

from __future__ import annotations

from typing import Any

import numpy as np

from petrt.diffusion.dose import LEAST, dose_text
from petrt.evaluation.activity import change
from petrt.evaluation.metrics import json_number
from petrt.evaluation.report import plots
from petrt.evaluation.report.case import Case
from petrt.evaluation.report.findings import (
    LEVEL,
    Measured,
    Spot,
    hot_spots,
    line_profile,
    noise_percent,
    residual_spectrum,
)
from petrt.evaluation.report.html import (
    Html,
    card,
    fixed,
    number,
    percent,
    signed,
    table,
    text,
    tile,
)
from petrt.evaluation.report.reference import NO_STD, Scores

Summary = dict[str, Any]

# An estimate from the noise that exceeds the full dose by this factor tells nothing of a dose.
MOST_DOSE = 10.0

STATISTICS = ("mean", "peak", "max")  # of a region
UNKNOWN = "? Warnings unknown: no record of the run was found, nor of its model and options."


def summary_of(case: Case, scores: Scores) -> Summary:
    """The numbers at the head of a page, JSON-ready; an index is made of them."""
    moved = change(case.output, case.input)
    dose = case.record.get("dose_fraction")
    return {
        "id": identity(case),
        "frame": case.frame,
        "warnings": _warnings(case),
        "activity_ratio": moved.activity_ratio,
        "maximum_percent": moved.suvmax_shift_percent,
        "noise_input": noise_percent(case.input, case),
        "noise_output": noise_percent(case.output, case),
        "dose_fraction": dose,
        "model": case.record.get("model", {}).get("name"),
        **{f"psnr_{name}": json_number(by["standard"]["psnr"]) for name, by in scores.items()},
    }


def _warnings(case: Case) -> list[str] | None:
    """None where they are not known. No run stands behind two images that are compared."""
    if "warnings" in case.record:
        return list(case.record["warnings"])
    return None if case.base == "input" else []


def identity(case: Case) -> str:
    """What a case is called: the head of its input's SHA-256. File names may name patients."""
    return str(case.record.get("hashes", {}).get("input", ""))[:12]


def heading(case: Case) -> str:
    """The title of a page: what was computed."""
    record = case.record
    parts = [f"model {record['model']['name']}"] if "model" in record else ["Comparison of images"]
    if record.get("sampler"):
        parts.append(f"{record['samples']} sample{'s' * (record['samples'] != 1)}")
    if record.get("dose_fraction"):
        parts.append(f"dose {dose_text(record['dose_fraction'])}")
    if record.get("strength", 1.0) != 1.0:
        parts.append(f"strength {record['strength']:g}")
    return " · ".join(parts)


def subtitle(case: Case) -> str:
    shape = " × ".join(map(str, case.output.shape))
    size = " × ".join(f"{mm:.3g}" for mm in case.voxel_mm)
    name = identity(case)
    parts = [f"input {name}"] if name else []
    parts += [case.frame] if case.frame else []
    parts += [f"{shape} voxels of {size} mm", case.unit or "no known unit"]
    return " · ".join(parts)


def warnings(case: Case, summary: Summary) -> Html:
    """The warnings of the run, before all else."""
    found = summary["warnings"]
    if found is None:
        return Html(f'<p class="note">{UNKNOWN}</p>')
    if case.base != "input":
        return Html("")
    if not found:
        return Html('<p class="calm">✓ The run gave no warnings.</p>')
    lines = "".join(f"<li>{text(signed(each))}</li>" for each in found)
    title = "1 warning" if len(found) == 1 else f"{len(found)} warnings"
    return card(title, f"<ul>{lines}</ul>", kind="warnings")


def tiles(case: Case, summary: Summary) -> Html:
    """The numbers that matter most."""
    ratio, noise = summary["activity_ratio"], (summary["noise_input"], summary["noise_output"])
    each = [tile(f"Activity, output / {case.base}", number(ratio), "1 keeps the total activity")]
    if None not in (summary.get("psnr_input"), summary.get("psnr_output")):
        before, after = summary["psnr_input"], summary["psnr_output"]
        gain = f"{after - before:+.1f} dB against the full dose"
        arrow = Html(f"<small>{before:.1f} →</small> {after:.1f} <small>dB</small>")
        each.append(tile("PSNR", arrow, gain))
    if None not in noise:
        arrow = Html(f"<small>{noise[0]:.2g} →</small> {noise[1]:.2g} <small>%</small>")
        each.append(tile("Noise in hot tissue", arrow, "of the hottest level"))
    each.append(
        tile("Hottest voxel", percent(summary["maximum_percent"]), f"output against {case.base}")
    )
    if case.record.get("dose_fraction"):
        each.append(tile("Dose", dose_text(case.record["dose_fraction"]), _dose(case.record)))
    return Html(f'<div class="tiles">{"".join(each)}</div>')


def _dose(record: Any) -> str:
    """Where the dose comes from, and what the noise says of it."""
    dose = record.get("dose", {})
    source = {"given": "as given", "estimated": "estimated from the noise", "model": "the model's"}
    said = source.get(dose.get("source"), "")
    if dose.get("estimate") is None or not LEAST <= dose["estimate"] <= MOST_DOSE:
        return said
    low, high = dose["interval95"]
    found = f"noise: {_about(dose['estimate'])} ({_about(low)} to {_about(high)})"
    return f"{said}; {found}" if said else found


def _about(fraction: float) -> str:
    if fraction > MOST_DOSE:
        return f"over {MOST_DOSE:g}"
    return f"1/{round(1 / fraction)}" if fraction < 1 / 3 else f"{fraction:.2g}"


def numbers(case: Case, top: float) -> Html:
    """Hot spots, regions, line profile and spectra."""
    spots = hot_spots(case)
    parts = [_spots(case, spots)] if spots else []
    if case.record.get("regions", {}).get("rows"):
        parts.append(_regions(case.record["regions"]))
    middle = np.unravel_index(int(np.argmax(case.output)), case.output.shape)
    voxel = spots[0].voxel if spots else (int(middle[0]), int(middle[1]), int(middle[2]))
    profile = line_profile(case, voxel)
    described = (
        f"Through the first hot spot, y {fixed(profile.at[1])} and z {fixed(profile.at[2])} mm."
    )
    if profile.half is not None:
        described += f" The band is the output's {100 * LEVEL:g} % interval."
    line = plots.profile_svg(profile, case.unit, case.base, "Line profile of the volumes")
    parts.append(card("Line profile", line, described, "wide"))
    spectrum = residual_spectrum(case, top)
    if spectrum is not None:
        plot = plots.spectrum_svg(spectrum, case.base, "Amplitudes by spatial frequency")
        what = "Averaged over directions. Where output and residual cross, noise begins to prevail."
        parts.append(card("Spectrum", plot, what))
        plot = plots.share_svg(spectrum, case.base, "What the residual holds of the image")
        what = (
            "The residual should be noise, hence 0. Structure in it is lost signal: above 0 the output has "
            f"less of it than the {case.base}, below 0 more."
        )
        parts.append(card("Structure in the residual", plot, what))
    return Html(f'<div class="grid">{"".join(parts)}</div>')


def _spots(case: Case, spots: list[Spot]) -> Html:
    unit = f" in {case.unit}" if case.unit else ""
    note = (
        f"Maximum and peak (mean of 1 ml){unit}, found in the mean of {case.base} and output. "
        "The maximum of a noisy image is noise in part; the peak is less so."
    )
    if spots[0].output.interval:
        note += f" ± is half of the {100 * LEVEL:g} % interval; that of a peak is an upper bound."
    else:
        note += f" No intervals: {_why_no_intervals(case)}."
    with_reference = spots[0].reference is not None and case.base == "input"
    head = ["place (mm)", f"max, {case.base}", "output", *(["full dose"] if with_reference else [])]
    head += [
        "change",
        f"peak, {case.base}",
        "output",
        *(["full dose"] if with_reference else []),
        "change",
    ]
    rows = []
    for spot in spots:
        go = ",".join(str(round(mm)) for mm in spot.at)
        shown = text(", ".join(fixed(mm) for mm in spot.at))
        place = Html(f'<button class="place" data-go="{go}">{shown}</button>')
        row: list[object] = [place]
        for i, key in enumerate(("maximum", "peak")):
            before, after = getattr(spot.input, key), getattr(spot.output, key)
            row += [number(before), _with_interval(spot.output, after, i)]
            row += [number(getattr(spot.reference, key))] if with_reference else []
            row.append(percent(100 * (after / before - 1)) if before > 0 else "–")
        rows.append(row)
    return card("Hot spots", table(head, rows), note, "wide")


def _why_no_intervals(case: Case) -> str:
    std = case.record.get("std", {})
    reason = str(std.get("reason") or "")
    if case.std is not None:
        return reason or "the std is not calibrated"
    # A run that had no calibrated std to write has a reason of its own.
    if reason and not case.calibrated:
        return reason
    how = "; --std of petrt reconstruct writes one, and --std of petrt report names it"
    return NO_STD + (how if std else "")


def _with_interval(measured: Measured, value: float, index: int) -> Html:
    half = measured.interval
    more = "" if half is None else f" <small>± {text(number(half[index], 2))}</small>"
    return Html(f"{text(number(value))}{more}")


def _regions(found: Any) -> Html:
    """The regions that the run measured (petrt reconstruct --regions), with their intervals."""
    rows = []
    for each in found["rows"]:
        row: list[object] = [each["name"] or each["label"], number(each["ml"], 3)]
        for key in STATISTICS:
            low, high = each.get(f"{key}_low"), each.get(f"{key}_high")
            between = "" if low is None else f" <small>{number(low, 3)} – {number(high, 3)}</small>"
            row.append(Html(f"{text(number(each[key]))}{between}"))
        rows.append(row)
    if any(each.get(f"{key}_low") is not None for each in found["rows"] for key in STATISTICS):
        note = (
            f"With the intervals that hold the full dose's at {100 * found['level']:g} %. They are corrected "
            "for the model's bias, so a value may lie outside its own."
        )
    else:
        reasons = dict.fromkeys(each.get("reason") for each in found["rows"])
        note = f"No intervals: {'; '.join(filter(None, reasons)) or 'none were measured'}."
    return card("Regions", table(["region", "ml", *STATISTICS], rows), note, "wide")
