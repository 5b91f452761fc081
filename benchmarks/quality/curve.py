"""What follows from the section ``samplers``: differences to the model's own sampler, and the table."""

from __future__ import annotations

from typing import Any

from benchmarks.quality import samplers as quality_samplers
from benchmarks.quality.model import COARSE
from benchmarks.quality.results import Results
from benchmarks.quality.samplers import Setting, curve
from benchmarks.quality.statistics import Summary
from petrt.model.spec import SamplerSpec

Record = dict[str, Any]

SECTION = "samplers"
COMPARED = (
    "standard.psnr",
    "standard.ssim",
    "standard.nmse",
    "truth.psnr",
    "activity_ratio",
    "sd",
    "coverage",
    "width",
    "rank",
)


def own_sampler(section: Record) -> SamplerSpec:
    return SamplerSpec(**section["settings"]["sampler"])


def measured(section: Record) -> list[Setting]:
    """The settings of the curve."""
    return curve(own_sampler(section), section["settings"]["samples"])


def preset(section: Record, name: str, samples: int | None = None) -> Setting:
    """What a preset is for this section's model, with its own number of samples or another."""
    return quality_samplers.preset(own_sampler(section), name, samples)


def sampler_differences(results: Results) -> list[Record]:
    """Each setting against the model's own sampler, with as many samples and with the most."""
    section = results.sections.get(SECTION, {})
    found = []
    for dose in results.doses(SECTION):
        for name, reference in _pairs(section):
            for metric in COMPARED:
                gain = difference(results, dose, name, reference, metric)
                if gain:
                    what = {"what": f"{name} - {reference}", "on": SECTION, "dose": dose}
                    found.append({**what, "metric": metric, **gain.record()})
    return found


def _pairs(section: Record) -> list[tuple[str, str]]:
    most = preset(section, "paper", section["settings"]["samples"]).name
    pairs = {(COARSE, most): None}
    for setting in measured(section):
        for reference in (preset(section, "paper", setting.samples).name, most):
            if setting.name != reference:
                pairs[setting.name, reference] = None
    return list(pairs)


def difference(
    results: Results, dose: str, name: str, reference: str, metric: str
) -> Summary | None:
    """Paired, over subjects; None where one of them was not measured."""
    return results.gain(SECTION, name, SECTION, reference, dose, metric)


def fast_less_paper(results: Results, dose: str, samples: int) -> Summary | None:
    """PSNR of ``fast`` with its own number of samples less that of ``paper`` with ``samples``."""
    section = results.sections.get(SECTION)
    if section is None:
        return None
    names = [preset(section, *which).name for which in (("fast",), ("paper", samples))]
    return difference(results, dose, names[0], names[1], "standard.psnr")


def table(results: Results, dose: str) -> list[str]:
    """Markdown: evaluations, time, image, and what the std is worth, by setting."""
    section = results.sections[SECTION]
    many = section["settings"]["samples"]
    heads = [
        "",
        "evaluations",
        "s a slice",
        "PSNR, dB",
        "less own sampler, same samples",
        f"less own sampler, {many} samples",
        "SSIM",
        "activity",
        "SD",
        "covered at 90 %, plain",
        "with the model's factor",
        "factor for 90 %",
        "half-width, %",
        "rank",
    ]
    lines = ["", f"## Samplers, {dose} dose", "", "| " + " | ".join(heads) + " |"]
    lines.append("|---" * len(heads) + "|")
    most = preset(section, "paper", many).name
    means = section["mean_sd"][dose]
    rows = [(COARSE, "0", most)] if COARSE in means else []
    rows += [
        (s.name, str(s.evaluations), preset(section, "paper", s.samples).name)
        for s in measured(section)
        if s.name in means
    ]
    for name, evaluations, same in rows:
        gains = [
            _gain(difference(results, dose, name, reference, "standard.psnr"))
            if reference != name and not (name == COARSE and column == 0)
            else ""
            for column, reference in enumerate((same, most))
        ]
        cells = [name, evaluations, _seconds(section, name), *_cells(means[name], gains)]
        lines.append("| " + " | ".join(cells) + " |")
    timed = section["seconds"]
    lines += [
        "",
        _foot(section, dose),
        "",
        f"Time: {timed['what']}, {timed['engine']}, "
        f"{timed['matrix'][0]} x {timed['matrix'][1]}; medians, settings in turn.",
    ]
    return lines


def _cells(means: dict[str, list[float | None]], gains: list[str]) -> list[str]:
    def cell(key: str, digits: int, times: float = 1.0) -> str:
        pair = means.get(key)
        return "" if pair is None or pair[0] is None else f"{times * pair[0]:.{digits}f}"

    return [
        cell("standard.psnr", 3),
        *gains,
        cell("standard.ssim", 4),
        cell("activity_ratio", 4),
        cell("sd", 5),
        cell("coverage", 1),
        cell("own_coverage", 1),
        cell("factor", 2),
        cell("width", 2, 100),
        cell("rank", 3),
    ]


def _gain(gain: Summary | None) -> str:
    if gain is None:
        return ""
    ends = "" if gain.ci is None else f" ({gain.ci[0]:+.3f} … {gain.ci[1]:+.3f})"
    return f"{gain.mean:+.3f}{ends}"


def _seconds(section: Record, name: str) -> str:
    found = section["seconds"]["of"].get(name)
    return "" if found is None else f"{found['median_s']:.3f}"


def _foot(section: Record, dose: str) -> str:
    settings = section["settings"]
    view = settings["view"][dose]
    return f"{settings['model']}: {len(section['subjects'])} subjects, {view}."
