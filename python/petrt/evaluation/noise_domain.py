"""A model's domain in numbers of the low-dose volume: the dose from its noise, and whether it belongs there.

The noise level is the natural logarithm of the noise relative to the hottest level (noise_level). Counting
noise has a variance proportional to 1 / dose, so the logarithm of the dose is a straight line in it, with a
slope near -2. Everything else, the features, is described given the noise level: each by a parabola, and all
together by the covariance of what the parabolas leave. The Mahalanobis distance of a volume's features then
tells how unusual it is for a scan with as much noise; no dose is needed for it.

The usual distance is the largest that a subject has in a fit without it, times SLACK. Without SLACK another
subject of the same population would lie beyond with a chance of about 1 / (subjects + 1), as in conformal
prediction (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.errors import InputError
from petrt.evaluation.noise_level import FEATURES, Signature, signature
from petrt.model.spec import NoiseDomain

Floats = NDArray[np.float64]

FEWEST_SUBJECTS = 8
FEWEST_KNOWN = 3  # volumes that a parabola needs
SLACK = 2.0  # some twenty subjects show little of a distribution's tail
# Differences of a feature below this, in natural logarithms, are never unusual: scans of one population
# differ less in simulation than between scanners.
FLOOR = 0.05
# How far, in logarithms of the noise, a volume may lie beyond all that the fit has seen.
LEVEL_MARGIN = 0.15
# A given dose is doubted beyond this many standard deviations of the estimate, and never within LEAST_FACTOR.
DOUBT = 3.0
LEAST_FACTOR = 1.5
NORMAL_95 = 1.959963984540054
NAMED = 3  # features that a warning names at most
OUTSTANDING = 3.0  # standard deviations


@dataclass(frozen=True)
class Case:
    """A low-dose ``volume`` [Z, H, W] on the model's grid, in any unit, at ``dose``, a fraction of the full
    dose."""

    subject: str
    volume: Array
    dose: float


@dataclass(frozen=True)
class Judgement:
    """What a volume's noise tells.

    ``dose``: the estimate, not clipped to any range; ``interval``: its ends at 95 %. ``distance`` is that of
    the features; up to ``usual`` it is usual. ``unusual``: in words what is unlike the training data, most
    unusual first; empty within the domain.
    """

    level: float
    dose: float
    interval: tuple[float, float]
    distance: float
    usual: float
    unusual: tuple[str, ...]

    @property
    def inside(self) -> bool:
        return not self.unusual


def fit_noise_domain(
    cases: Iterable[Case], voxel_mm: Sequence[float], threads: int = 1
) -> NoiseDomain:
    """The domain of ``cases``: subjects of the training and validation splits, at all doses trained on.

    ``voxel_mm``: of the volumes along x, y, z, as in the model's domain. Volumes may be scaled, as those of a
    prepared data set are (``dataset.pair(name, dose).low``). Features of anatomy have one value a subject, so
    some thirty subjects are worth having; each volume takes a third of a second. Raises InputError for fewer
    than 8 subjects, a volume without a signature, a single dose, and noise that does not fall with the dose.
    """
    height, width, depth = voxel_mm
    subjects, doses, signatures = [], [], []
    for case in cases:
        found = signature(case.volume, (depth, height, width), threads)
        if found is None:
            raise InputError(
                f"{case.subject}: no noise level, for its hot tissue is too small",
                "leave the subject out",
            )
        subjects.append(case.subject)
        doses.append(case.dose)
        signatures.append(found)
    return fit_signatures(subjects, doses, signatures)


def fit_signatures(
    subjects: Sequence[str], doses: Sequence[float], signatures: Sequence[Signature]
) -> NoiseDomain:
    """``fit_noise_domain`` from signatures; all three of one length.

    A feature that is unknown for most volumes, such as air of cropped ones, is left out: never judged.
    """
    names = sorted(set(subjects))
    if len(names) < FEWEST_SUBJECTS:
        raise InputError(
            f"{len(names)} subjects show no domain", f"give {FEWEST_SUBJECTS} or more of them"
        )
    if len(set(doses)) < 2:
        raise InputError("one dose does not show how noise falls with it", "give several doses")
    level = np.array([each.level for each in signatures])
    features = np.array([each.features for each in signatures])
    known = np.isfinite(features).sum(axis=0) >= FEWEST_KNOWN
    features = features[:, known]
    owner = np.array([names.index(each) for each in subjects])
    line = _dose_line(level, np.log(np.asarray(doses, float)), len(names))
    expected, covariance = _normal(level, features, len(names))
    farthest = 0.0
    for number in range(len(names)):
        own = owner == number
        others = _normal(level[~own], features[~own], len(names) - 1)
        for at, found in zip(level[own], features[own], strict=True):
            farthest = max(farthest, _distance(_left(others[0], at, found), others[1]))
    return NoiseDomain(
        features=tuple(name for name, there in zip(FEATURES, known, strict=True) if there),
        level=(float(level.min()) - LEVEL_MARGIN, float(level.max()) + LEVEL_MARGIN),
        dose=(line[0], line[1]),
        dose_std=line[2],
        expected=tuple((float(a), float(b), float(c)) for a, b, c in expected),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        usual=SLACK * farthest,
        subjects=len(names),
    )


def judge(found: Signature, domain: NoiseDomain) -> Judgement:
    """What ``found`` tells under ``domain``. Raises InputError for features that this version has not."""
    if set(domain.features) - set(FEATURES):
        raise InputError("the model's domain is of a newer petrt", "update petrt")
    order = [list(FEATURES).index(name) for name in domain.features]
    low, high = domain.level
    at = min(max(found.level, low), high)
    left = _left(np.array(domain.expected), at, found.features[order])
    covariance = np.array(domain.covariance)
    distance = _distance(left, covariance)
    unusual = []
    if found.level < low:
        unusual.append("less noise than at the highest dose trained on")
    elif found.level > high:
        unusual.append("more noise than at the lowest dose trained on")
    if distance > domain.usual:
        unusual += _names(left / np.sqrt(np.diag(covariance)), domain.features)
    constant, slope = domain.dose
    guess = constant + slope * found.level
    width = NORMAL_95 * domain.dose_std
    return Judgement(
        level=found.level,
        dose=math.exp(guess),
        interval=(math.exp(guess - width), math.exp(guess + width)),
        distance=distance,
        usual=domain.usual,
        unusual=tuple(unusual),
    )


def doubts(given: float, judgement: Judgement, domain: NoiseDomain) -> bool:
    """Whether the noise speaks against the ``given`` dose."""
    off = abs(math.log(given / judgement.dose))
    return off > max(DOUBT * domain.dose_std, math.log(LEAST_FACTOR))


def _dose_line(level: Floats, log_dose: Floats, subjects: int) -> tuple[float, float, float]:
    """Constant and slope of the logarithm of the dose in the noise level, and the error's deviation.

    A subject errs in the same direction at all doses, so the fit has seen as many errors as subjects. The
    deviation is the upper end of its one-sided 95 % confidence interval (chi-squared), so that intervals hold
    the dose of other subjects as often as they say.
    """
    from scipy.stats import chi2

    slope, constant = np.polyfit(level, log_dose, 1)
    if slope >= 0:
        raise InputError("the noise does not fall with the dose", "check the doses of the volumes")
    errors = log_dose - constant - slope * level
    free = subjects - 2
    spread = float(np.sqrt(np.mean(errors**2) * subjects / chi2.ppf(0.05, free)))
    return float(constant), float(slope), max(spread, 1e-3)


def _normal(level: Floats, features: Floats, subjects: int) -> tuple[Floats, Floats]:
    """Parabolas [features, 3], highest power last, and the covariance of what they leave.

    Few subjects show variances better than covariances, which are therefore drawn towards 0 by the share
    features / (features + subjects).
    """
    expected = np.array([_parabola(level, column) for column in features.T])
    left = np.array([_left(expected, at, found) for at, found in zip(level, features, strict=True)])
    left[~np.isfinite(left)] = 0.0
    covariance = left.T @ left / max(len(left) - 3, 1)
    count = len(covariance)
    kept = subjects / (count + subjects)
    covariance = kept * covariance + (1 - kept) * np.diag(np.diag(covariance))
    return expected, covariance + FLOOR**2 * np.eye(count)


def _parabola(level: Floats, column: Floats) -> Floats:
    known = np.isfinite(column)
    if known.sum() < FEWEST_KNOWN:  # without one subject
        return np.full(3, math.nan)
    degree = min(2, len(np.unique(level[known])) - 1)
    found = np.polynomial.polynomial.polyfit(level[known], column[known], degree)
    return np.pad(found, (0, 2 - degree))


def _left(expected: Floats, level: float, features: Floats) -> Floats:
    """What the parabolas leave of ``features``; NaN of what is unknown."""
    return features - expected @ np.array([1.0, level, level**2])


def _distance(left: Floats, covariance: Floats) -> float:
    """The Mahalanobis distance over the square root of the number of known features: about 1 inside."""
    known = np.isfinite(left)
    if not known.any():
        return 0.0
    part = left[known]
    return math.sqrt(
        float(part @ np.linalg.solve(covariance[np.ix_(known, known)], part)) / known.sum()
    )


def _names(deviations: Floats, features: Sequence[str]) -> list[str]:
    """The most unusual features in words, at least one."""
    size = np.where(np.isfinite(deviations), np.abs(deviations), 0.0)
    order = np.argsort(-size)[:NAMED]
    return [FEATURES[features[i]] for n, i in enumerate(order) if n == 0 or size[i] > OUTSTANDING]
