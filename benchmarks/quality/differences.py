"""Paired differences between methods."""

from __future__ import annotations

from benchmarks.quality import curve
from benchmarks.quality.model import COARSE, ONE, PLAIN, ams
from benchmarks.quality.results import ADDED, AT, FILTERS, METRICS, Record, Results
from benchmarks.quality.statistics import paired


def differences(results: Results) -> list[Record]:
    """Every comparison that the sections at hand allow, by dose and metric."""
    many = ams(results.samples("model"))
    within = [(many, ONE), (many, COARSE), (ONE, COARSE), (many, PLAIN), (COARSE, PLAIN)]
    found = []
    for prefix in ("", "real-"):
        ours = f"{prefix}model"
        pairs = [(a, ours, b) for a, b in within]
        pairs += [(a, prefix + FILTERS[b], b) for a in (many, ONE, COARSE) for b in FILTERS]
        for dose in results.doses(ours):
            for metric in METRICS:
                for a, other, b in pairs:
                    gain = results.gain(ours, a, other, b, dose, metric)
                    if gain:
                        what = {"what": f"{a} - {b}", "on": ours, "dose": dose, "metric": metric}
                        found.append({**what, **gain.record()})
    return found + curve.sampler_differences(results) + _row_differences(results)


def _row_differences(results: Results) -> list[Record]:
    many = ams(results.samples("rows"))
    found = []
    for before, after, added in ADDED:
        for method in (many, ONE):
            for metric in (*METRICS, "sd"):
                gain = paired(
                    results.row(after, method, metric), results.row(before, method, metric)
                )
                if gain:
                    found.append(
                        {
                            "what": f"row {after} - row {before}",
                            "on": "rows",
                            "added": added,
                            "method": method,
                            "dose": AT,
                            "metric": metric,
                            **gain.record(),
                        }
                    )
    return found
