"""The table of the section ``shortcuts``, and what follows from it."""

from __future__ import annotations

from typing import Any

from benchmarks.quality.spheres import MILLILITRES


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
    return [
        *lines,
        "",
        f"{section['settings']['model']}: {len(section['subjects'])} subjects, a slab of the head. Means over "
        "spheres, over the full dose's maximum. Evaluations without the deep part count by their multiplications.",
    ]


def _cell(numbers: dict[str, list[float | None]], key: str, digits: int) -> str:
    pair = numbers.get(key)
    return "" if pair is None or pair[0] is None else f"{pair[0]:.{digits}f}"
