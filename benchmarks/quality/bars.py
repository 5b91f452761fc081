"""The bars that the method has to reach, and whether it does."""

from __future__ import annotations

from benchmarks.quality import curve
from benchmarks.quality.classical import BM4D, GAUSSIAN, LOW, NLM
from benchmarks.quality.model import ONE, ams
from benchmarks.quality.phantom import SMALL_MM
from benchmarks.quality.results import ADDED, AT, FILTERS, METRICS, Record, Results
from benchmarks.quality.statistics import Summary, Values, over_subjects, paired
from petrt.diffusion.presets import PRESETS
from petrt.evaluation.nema import DIAMETERS_MM

ENDS = (("lowest", min), ("highest", max))
TISSUES = ("grey", "white", "lesion")
# Kind of region, and the statistic whose interval is judged.
REGIONS = (*((f"{ml} ml", "mean") for ml in (1, 5, 20, 100)), ("lesion", "peak"))


def bars(results: Results) -> list[Record]:
    """What is asked of the method, what was got, and whether it is met (None: not measured)."""
    many = ams(results.samples("model"))
    row = ams(results.samples("rows"))
    psnr = METRICS[0]

    def ours(metric: str, method: str = many) -> Values:
        return results.values("model", AT, method, metric)

    def over(other: str) -> Summary | None:
        return results.gain("model", many, FILTERS[other], other, AT, psnr)

    made = [
        _at_least("AMS over low-dose", over(LOW), 6.0),
        _at_least("AMS over the best Gaussian", over(GAUSSIAN), 2.0),
        _at_least("AMS over non-local means", over(NLM), 1.0),
        _at_least("AMS over BM4D", over(BM4D), 1.0),
        _at_least(
            "row c with AMS over row b",
            paired(results.row("c", row, psnr), results.row("b", row, psnr)),
            0.0,
        ),
        _at_least("AMS over one sample", paired(ours(psnr), ours(psnr, ONE)), 0.1),
    ]
    ratio = {s: None if v is None else 100 * (v - 1) for s, v in ours("activity_ratio").items()}
    made += [
        _within("activity ratio", ratio, 1.0),
        _within("mean of grey matter", ours("grey_bias"), 5.0),
        _within("mean of white matter", ours("white_bias"), 5.0),
        _within("SUVpeak of hot lesions", ours("lesion_peak_bias"), 10.0),
    ]
    made += [
        _added(
            f"{added}: row {after} - row {before}",
            paired(results.row(after, row, psnr), results.row(before, row, psnr)),
        )
        for before, after, added in ADDED[1:]
    ]
    made += _presets(results) + _covered(results) + _uncertainty(results)
    return made + _phantom(results) + _lesions(results)


def _uncertainty(results: Results) -> list[Record]:
    """The calibration of voxels and regions, for each sampler and dose: likelihood and coverage."""
    made = []
    samplers = results.sections.get("uncertainty", {}).get("samplers", {})
    for name, dose, judged in [(n, d, j) for n, at in samplers.items() for d, j in at.items()]:
        voxels, regions, at = judged["voxels"], judged["regions"], f"{name}, {dose}"
        worst = voxels["paired"][1]
        bar = _bar(f"{at}: map less than the intensity, worst subject", "< 0", "", None, worst < 0)
        made.append(bar | {"got": worst, "subjects": voxels["subjects"]})
        shares = {
            f"voxels, {word} fifth of the std": each(voxels["by_fifth"]) for word, each in ENDS
        }
        tissues = voxels.get("by_tissue", {})
        shares |= {f"voxels, {key}": tissues[key] for key in TISSUES if key in tissues}
        shares |= {
            f"{statistic}, {kind}": regions[kind][statistic]["coverage"]
            for kind, statistic in REGIONS
            if kind in regions
        }
        for what, share in shares.items():
            got = {"got": 100 * share, "met": 0.85 <= share <= 0.95, "subjects": voxels["subjects"]}
            made.append(_bar(f"{at}: 90 % of {what}", "85 to 95 %", "%", None, None) | got)
    return made


def _phantom(results: Results) -> list[Record]:
    """Contrast recovery over the Gaussian's at equal background variability, of every realisation."""
    made = []
    for kind, doses in results.sections.get("phantom", {}).get("phantoms", {}).items():
        if AT not in doses:
            continue
        gains = doses[AT]["gain_by_realisation"]
        for index, diameter in enumerate(DIAMETERS_MM):
            least = 10.0 if diameter in SMALL_MM else 0.0
            got = over_subjects({str(n): each[index] for n, each in enumerate(gains)})
            met = None if got is None else got.mean >= least
            what = f"phantom ({kind}): {diameter:g} mm over the Gaussian at equal noise"
            made.append(_bar(what, f">= {least:g} %", "%", got, met))
        ratio = 100 * (doses[AT]["activity_ratio"] - 1)
        made.append(_within(f"phantom ({kind}): activity ratio", {"mean": ratio}, 1.0))
    return made


def _lesions(results: Results) -> list[Record]:
    """No lesion that is not there."""
    found = results.sections.get("lesions", {}).get("doses", {}).get(AT, {}).get("output")
    if found is None:
        return []
    what = f"false hot lesions in {found['brains']} brains"
    got = over_subjects({"all": float(found["false hot"])})
    return [_bar(what, "0", "", got, found["false hot"] == 0)]


def _presets(results: Results) -> list[Record]:
    """The preset ``fast`` against ``paper``, with as many samples and with the most."""
    few, many = PRESETS["fast"].samples, results.samples(curve.SECTION)
    share = results.sections.get(curve.SECTION, {}).get("seconds", {}).get("default_share")
    time = _bar("time of the default over all steps", "<= 0.2", "", None, None)
    if share is not None:
        time |= {"got": share, "met": share <= 0.2}
    return [
        time,
        *(
            _at_least(
                f"fast - paper, {few} and {samples} samples",
                curve.fast_less_paper(results, AT, samples),
                -0.1,
                surely=True,
            )
            for samples in dict.fromkeys((few, many))
        ),
    ]


def _bar(what: str, asked: str, unit: str, got: Summary | None, met: bool | None) -> Record:
    made = {"what": what, "asked": asked, "got": None, "unit": unit, "met": met}
    if got is not None:
        record = got.record()
        made |= {"got": record.pop("mean"), **record}
    return made


def _at_least(what: str, got: Summary | None, least: float, *, surely: bool = False) -> Record:
    """``surely``: the whole interval has to reach it, not the mean alone."""
    met = None if got is None else (got.ci[0] if surely and got.ci else got.mean) >= least
    return _bar(what, f">= {least:g} dB", "dB", got, met)


def _within(what: str, percent: Values, most: float) -> Record:
    """The mean over subjects lies within +- ``most`` per cent; ``each`` says whether every subject does."""
    got = over_subjects(percent)
    made = _bar(
        what, f"within {most:g} %", "%", got, None if got is None else abs(got.mean) <= most
    )
    if got is not None:
        made["each"] = max(abs(got.lowest), abs(got.highest)) <= most
    return made


def _reported(what: str, got: Summary | None) -> Record:
    """Asked is only that it is reported."""
    return _bar(what, "reported", "dB", got, None if got is None else True)


def _added(what: str, got: Summary | None) -> Record:
    """The same of something added; ``helps``: the interval lies above 0; False: below; None: neither."""
    made = _reported(what, got)
    if got is not None and got.ci is not None:
        made["helps"] = True if got.ci[0] > 0 else False if got.ci[1] < 0 else None
    return made


def _covered(results: Results) -> list[Record]:
    """The 90 % interval of a model whose calibration is one factor, on test subjects."""
    tables = results.sections.get("calibration", {}).get("doses", {}).get(AT, {})
    found = tables.get("coverage", {}).get("calibrated std", {}).get("0.9")
    if not found:
        return []
    made = _bar("coverage of calibrated 90 % intervals", "85 to 95 %", "%", None, None)
    percent = {key: [100 * end for end in found[key]] for key in ("ci95", "range") if found[key]}
    made |= {"got": 100 * found["mean"], "subjects": found["subjects"], **percent}
    return [made | {"met": 85 <= made["got"] <= 95}]
