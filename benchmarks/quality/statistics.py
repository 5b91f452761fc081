"""Mean, spread and paired differences over subjects."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEVEL = 0.95

# subject -> value; None where the subject has none (no lesion, say)
Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation (n - 1) and the confidence interval of the mean, by Student's t.

    ``sd`` and ``ci`` are None for a single value.
    """

    mean: float
    sd: float | None
    ci: tuple[float, float] | None
    subjects: int
    lowest: float
    highest: float

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "mean": rounded(self.mean),
            "sd": rounded(self.sd),
            "ci95": None if self.ci is None else [rounded(end) for end in self.ci],
            "subjects": self.subjects,
            "range": [rounded(self.lowest), rounded(self.highest)],
        }


def summarise(values: Sequence[float], level: float = LEVEL) -> Summary:
    """mean +- t(n - 1) sd / sqrt(n) holds the mean of all such subjects with probability ``level``."""
    from scipy.stats import t

    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Summary(mean, None, None, count, mean, mean)
    sd = statistics.stdev(values)
    half = float(t.ppf((1 + level) / 2, count - 1)) * sd / math.sqrt(count)
    return Summary(mean, sd, (mean - half, mean + half), count, min(values), max(values))


def over_subjects(values: Values) -> Summary | None:
    """Of the subjects that have a value; None where no one has."""
    present = [value for value in values.values() if value is not None]
    return summarise(present) if present else None


def paired(ours: Values, theirs: Values) -> Summary | None:
    """ours - theirs, subject by subject, of those that have both; None where no one has."""
    both = {
        subject: value - other
        for subject, value in ours.items()
        if value is not None and (other := theirs.get(subject)) is not None
    }
    return over_subjects(both)


def rounded(value: float | None) -> float | None:
    """Six significant digits: beyond what any figure here is known to."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
