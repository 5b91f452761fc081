"""What each strength does: noise in white matter, contrast, and what the standard deviation then covers.

``noise``: standard deviation over white matter of image - noise-free activity, over the latter's mean, in per
cent. ``contrast``: the ratio of the means of grey and white matter over its true value, in per cent.
``peaks``: the same for the largest mean over 1 ml of hot lesions. ``covered``: the share of active voxels
that image +- z std holds at 90 %, std as petrt.diffusion.strength has it, with the factor that covers 90 % of
this subject at strength 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.quality.cases import QualityCase
from benchmarks.quality.model import COARSE, Settings, reconstruct
from benchmarks.quality.scores import Numbers, plain_psnr, regions
from benchmarks.quality.store import Measured
from petrt.arrays import Array
from petrt.data.simulate.phantom import GREY, WHITE
from petrt.diffusion.strength import blend, deviation
from petrt.evaluation.calibration import active_voxels, coverage, fit_factor
from petrt.evaluation.report.figure import DPI, headed, png
from petrt.files.atomic import atomic_write_bytes
from petrt.model.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRENGTHS = tuple(n / 10 for n in range(11))
MODEL = "model"
LEVEL = 0.9
# Metric -> heading, digits.
COLUMNS = {
    "noise": ("noise in white matter, %", 1),
    "contrast": ("grey to white, % of the truth", 1),
    "peaks": ("lesions' peaks, % of the truth", 1),
    "standard.psnr": ("PSNR, dB", 2),
    "covered": ("covered at 90 %", 1),
}


def name_of(what: str, strength: float) -> str:
    return f"{what} {strength:g}"


def measure(bundle: Bundle, case: QualityCase, settings: Settings) -> Measured:
    """The default preset with ``settings.samples``, and the coarse prediction, at each strength."""
    seen, measured = settings.views[case.dose].cut(case), Measured()
    found = reconstruct(bundle, case, settings, preset="fast", samples=settings.samples)
    voxels = active_voxels(found.image, found.std, seen.full)
    std = found.std * np.float32(fit_factor([voxels], LEVEL))
    for what, own in ((MODEL, found.image), (COARSE, np.maximum(found.coarse, 0))):
        for strength in STRENGTHS:
            image, away = blend(seen.low, own, strength)
            numbers = _numbers(image, seen)
            if what == MODEL:
                each = active_voxels(image, deviation(std, away), seen.full)
                numbers["covered"] = 100 * coverage(each, LEVEL)
            measured.methods[name_of(what, strength)] = numbers
    return measured


def _numbers(image: Array, seen: QualityCase) -> Numbers:
    assert seen.labels is not None
    grey, white = (seen.labels == tissue for tissue in (GREY, WHITE))
    numbers: Numbers = {"standard.psnr": plain_psnr(image, seen.full)}
    truth = float(seen.truth[white].mean(dtype=np.float64))
    numbers["noise"] = 100 * float((image - seen.truth)[white].std(dtype=np.float64)) / truth
    ratios = [
        float(v[grey].mean(dtype=float) / v[white].mean(dtype=float)) for v in (image, seen.truth)
    ]
    numbers["contrast"] = 100 * ratios[0] / ratios[1]
    bias = regions(image, seen.truth, seen, lesions=True)["lesion_peak_bias"]
    numbers["peaks"] = None if bias is None else 100 + bias
    return numbers


def table(section: dict[str, Any], dose: str) -> list[str]:
    """Markdown: a row for each strength, of the model's image and of the coarse prediction."""
    means = section["mean_sd"][dose]
    heads = [head for head, _ in COLUMNS.values()]
    coarse = [key for key in COLUMNS if key != "covered"]
    lines = ["", f"## Strength, {dose} dose", ""]
    row = ["strength", *heads, *(f"coarse: {COLUMNS[key][0]}" for key in coarse)]
    lines += ["| " + " | ".join(row) + " |", "|---" * len(row) + "|"]
    for strength in STRENGTHS:
        cells = [f"{strength:g}"]
        for what, keys in ((MODEL, [*COLUMNS]), (COARSE, coarse)):
            numbers = means[name_of(what, strength)]
            cells += [_cell(numbers.get(key), COLUMNS[key][1]) for key in keys]
        lines.append("| " + " | ".join(cells) + " |")
    settings = section["settings"]
    view = settings["view"][dose]
    return [*lines, "", f"{settings['model']}: {len(section['subjects'])} subjects, {view}."]


def _cell(pair: list[float | None] | None, digits: int) -> str:
    return "" if pair is None or pair[0] is None else f"{pair[0]:.{digits}f}"


def save_strength(path: Path, section: dict[str, Any]) -> None:
    """Write the picture of quality.json's section ``strength`` as a PNG: a column for each dose."""
    atomic_write_bytes(path, png(lambda: _draw(section)), overwrite=True)


def _draw(section: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    doses = list(section["mean_sd"])
    figure = Figure(figsize=(11.0, 3.6 * len(doses) + 0.6), dpi=DPI, facecolor="white")
    rows = figure.subplots(len(doses), 2, squeeze=False)
    for dose, (trade, psnr) in zip(doses, rows, strict=True):
        means = section["mean_sd"][dose]
        for what, look in ((MODEL, "o-"), (COARSE, "s--")):
            each = [means[name_of(what, strength)] for strength in STRENGTHS]
            noise = [numbers["noise"][0] for numbers in each]
            label = "AMS (default preset)" if what == MODEL else what
            trade.plot(noise, [n["contrast"][0] for n in each], f"C0{look}", markersize=4)
            peaks = [(x, n["peaks"][0]) for x, n in zip(noise, each, strict=True) if "peaks" in n]
            if peaks:
                trade.plot(*zip(*peaks, strict=True), f"C1{look}", markersize=4)
            psnr.plot(STRENGTHS, [n["standard.psnr"][0] for n in each], f"C0{look}", label=label)
        for strength in (0, 0.5, 1):
            at = means[name_of(MODEL, strength)]
            trade.annotate(
                f"strength {strength:g}",
                (at["noise"][0], at["contrast"][0]),
                xytext=(6, -12) if strength else (0, -16),
                ha="left" if strength else "right",
                textcoords="offset points",
                fontsize=8,
            )
        trade.plot([], [], "C0-", label="grey to white matter")
        trade.plot([], [], "C1-", label="peaks of hot lesions")
        trade.margins(y=0.12)
        trade.axhline(100, color="0.6", linewidth=1)
        trade.set_xlabel("noise in white matter, %")
        trade.set_ylabel("contrast, % of the truth")
        psnr.set_xlabel("strength")
        psnr.set_ylabel("PSNR, dB")
        for axes in (trade, psnr):
            axes.set_title(f"{dose} dose", fontsize=9)
            axes.grid(color="0.9")
            axes.legend(fontsize=8)
    title = headed("Strength: from the input (0) to the model's image (1), simulated test subjects")
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    return figure
