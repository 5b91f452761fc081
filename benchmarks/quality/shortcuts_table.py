"""The table of the section ``shortcuts``, and what follows from it."""

from __future__ import annotations

from typing import Any

from benchmarks.quality.spheres import MILLILITRES

Numbers = dict[str, list[Any]]

LOSS = 0.1  # dB of PSNR
COVERED = 5.0  # points of coverage
# How many times as much too small the spread of regions' means may be: what hardly spreads has nothing to
# scale, although some factor covers the spheres that it was fitted on.
SMALLER = 2.0


def table(section: dict[str, Any]) -> list[str]:
    """Markdown: for each way image, cost, and what its samples say of voxels and of spheres' means."""
    dose, means = next(iter(section["mean_sd"].items()))
    times = section["seconds"]["of"]
    heads = ["", "evaluations", "s a slice", "PSNR, dB", "voxels covered at 90 %"]
    for size in MILLILITRES:
        heads += [f"{size} ml: rms, %", "too small by", "covered at 90 %", "with one factor"]
    lines = [
        "",
        f"## Shortcuts through the steps, {dose} dose",
        "",
        "| " + " | ".join(heads) + " |",
    ]
    lines.append("|---" * len(heads) + "|")
    for name, numbers in means.items():
        cells = [name, _cell(numbers, "evaluations", 1), f"{times[name]:.3f}"]
        cells += [_cell(numbers, "standard.psnr", 2), _cell(numbers, "coverage", 1)]
        for size in MILLILITRES:
            keys = (("rms", 2), ("ratio", 1), ("covered", 0), ("one_factor", 0))
            cells += [_cell(numbers, f"{size}ml.{key}", digits) for key, digits in keys]
        lines.append("| " + " | ".join(cells) + " |")
    view = (
        f"{section['settings']['model']}: {len(section['subjects'])} subjects, a slab of the head."
    )
    return [
        *lines,
        "",
        f"{view} Means over spheres, over the full dose's maximum. Evaluations without the deep part count "
        "by their multiplications.",
        "",
        conclusion(section),
    ]


def conclusion(section: dict[str, Any]) -> str:
    """One sentence: the quickest way that keeps the image and the coverage of regions of all steps."""
    means = next(iter(section["mean_sd"].values()))
    times = section["seconds"]["of"]
    first = next(iter(means))
    kept = [name for name in means if _keeps(means[name], means[first])]
    quickest = min(kept, key=lambda name: float(times[name]))
    share = times[quickest] / times[first]
    others = [name for name in means if name not in kept]
    lost = f" Not so: {'; '.join(others)}." if others else ""
    return (
        f"PSNR within {LOSS:g} dB of all steps, spheres of every size covered as well once one factor is "
        f"fitted (to {COVERED:g} points), and that factor at most {SMALLER:g} times as large: {len(kept)} of "
        f"{len(means)} ways. The quickest is {quickest}, in "
        f"{100 * share:.0f} % of the time.{lost}"
    )


def _keeps(numbers: Numbers, whole: Numbers) -> bool:
    """Whether a way is as good as ``whole``: in its image, and in how far the coverages are from 90 %."""
    if numbers["standard.psnr"][0] < whole["standard.psnr"][0] - LOSS:
        return False
    for size in MILLILITRES:
        key = f"{size}ml.one_factor"
        if key not in whole:
            continue
        if key not in numbers or numbers[key][0] is None:
            return False
        if numbers[f"{size}ml.ratio"][0] > SMALLER * whole[f"{size}ml.ratio"][0]:
            return False
        off, theirs = (abs(each[key][0] - 90) for each in (numbers, whole))
        if off > theirs + COVERED:
            return False
    return True


def _cell(numbers: Numbers, key: str, digits: int) -> str:
    pair = numbers.get(key)
    return "" if pair is None or pair[0] is None else f"{pair[0]:.{digits}f}"
