"""Log-linear standard deviations of errors, fitted by maximum likelihood, and the choice of their parameters.

An error e is normal with mean v b and log variance x c, where x [k] are features, v [m] values that it may
be proportional to. Its negative log-likelihood, without the constant log(2 pi) / 2, is

    (x c + (e - v b)^2 exp(-x c)) / 2,

convex in c and in b (heteroscedastic regression: Harvey, "Estimating regression models with multiplicative
heteroscedasticity", Econometrica 1976). One factor on the standard deviation then makes a normal interval
cover a given fraction, as errors have longer tails than a normal distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np

from petrt.arrays import Array64
from petrt.errors import InputError

# A parameter stays if it lowers the negative log-likelihood of left-out subjects by this much.
WORTH = 1e-3
# Of many subjects, so many groups are left out in turn.
MOST_GROUPS = 8
# Weight of (coefficient x spread of its feature)^2 in the mean cost: few regions must not be fitted exactly.
RIDGE = 1e-3
# Log variances of features far from those of the fit stay finite.
MOST = 60.0


@dataclass(frozen=True)
class Errors:
    """Errors of one subject at one dose: ``error`` [n], ``features`` [n, k], ``values`` [n, m] or None.

    ``error`` is truth - estimate. ``names`` [k] of the features; the first is "constant", a column of ones.
    """

    subject: str
    error: Array64
    features: Array64
    names: tuple[str, ...]
    values: Array64 | None = None


@dataclass(frozen=True)
class LogLinear:
    """log variance = features @ coefficients; mean error = values @ ``bias`` [m]."""

    names: tuple[str, ...]
    coefficients: Array64
    bias: Array64 = field(default_factory=lambda: np.zeros(0))

    def log_variance(self, errors: Errors) -> Array64:
        columns = [errors.names.index(name) for name in self.names]
        return np.clip(errors.features[:, columns] @ self.coefficients, -MOST, MOST)

    def rest(self, errors: Errors) -> Array64:
        """The error without its mean."""
        return errors.error if errors.values is None else errors.error - errors.values @ self.bias

    def scores(self, errors: Errors) -> Array64:
        """|error without its mean| / standard deviation."""
        return np.abs(self.rest(errors)) * np.exp(-0.5 * self.log_variance(errors))

    def nll(self, errors: Errors) -> float:
        """The mean negative log-likelihood, with the constant log(2 pi) / 2."""
        log_variance = self.log_variance(errors)
        each = log_variance + self.rest(errors) ** 2 * np.exp(-log_variance)
        return float(0.5 * (each.mean() + np.log(2 * np.pi)))

    def scaled(self, factor: float) -> LogLinear:
        """The same with its standard deviation times ``factor``."""
        coefficients = self.coefficients.copy()
        coefficients[0] += 2 * np.log(factor)
        return replace(self, coefficients=coefficients)

    def spec(self) -> dict[str, float]:
        """Name -> coefficient; absent are those that were left out."""
        return {n: float(c) for n, c in zip(self.names, self.coefficients, strict=True)}


def varying(parts: Sequence[Errors]) -> tuple[str, ...]:
    """The names of features that are no mere constants in ``parts``, and "constant"."""
    features = np.concatenate([part.features for part in parts])
    spread = np.ptp(features, axis=0)
    return tuple(n for n, s in zip(parts[0].names, spread, strict=True) if n == "constant" or s > 0)


def fit(parts: Sequence[Errors], names: Sequence[str]) -> LogLinear:
    """The coefficients of ``names`` (and the bias, where errors have values) of the largest likelihood.

    Every part has the same weight. Raises InputError where there are no errors at all.
    """
    x = np.concatenate([p.features[:, [p.names.index(n) for n in names]] for p in parts])
    error = np.concatenate([part.error for part in parts])
    weights = equal(parts)
    given = [part.values for part in parts if part.values is not None]
    values = np.concatenate(given) if given else np.zeros((len(error), 0))
    if not np.isfinite(error).all() or not (error != 0).any():
        raise InputError("the mean equals the full-dose image: there is no error to calibrate to")
    # Centred columns: the Newton steps are then as exact as the features allow.
    middle = np.append(0.0, np.average(x[:, 1:], axis=0, weights=weights))
    centred = x - middle
    ridge = RIDGE * np.average(centred**2, axis=0, weights=weights) * (np.arange(len(names)) > 0)
    bias, coefficients = np.zeros(values.shape[1]), np.zeros(len(names))
    coefficients[0] = np.log(np.average(error**2, weights=weights))
    for _ in range(50):
        rest = error - values @ bias
        coefficients, moved = _newton(centred, rest**2, weights, coefficients, ridge)
        if not len(bias):
            break
        log_variance = np.clip(centred @ coefficients, -MOST, MOST)
        precise = (weights * np.exp(-log_variance))[:, None] * values
        gram = precise.T @ values
        gram += RIDGE * np.diag(np.diag(gram))  # of few regions, values may be all but proportional
        bias = np.linalg.lstsq(gram, precise.T @ error, rcond=None)[0]
        if moved < 1e-7:
            break
    coefficients = coefficients.copy()
    coefficients[0] -= coefficients[1:] @ middle[1:]
    return LogLinear(tuple(names), coefficients, bias)


def chosen(parts: Sequence[Errors]) -> LogLinear:
    """The fit of those features that help on left-out subjects.

    From all of them, that whose absence costs least is left out until this costs more than ``WORTH``;
    "constant" stays. With a single subject all features stay.
    """
    names = varying(parts)
    if len({part.subject for part in parts}) == 1:
        return fit(parts, names)
    best = left_out(parts, names)
    while len(names) > 1:
        tries = {n: left_out(parts, [m for m in names if m != n]) for n in names[1:]}
        least = min(tries, key=tries.__getitem__)
        if tries[least] > best + WORTH:
            break
        names = tuple(name for name in names if name != least)
        best = min(best, tries[least])
    return fit(parts, names)


def left_out(parts: Sequence[Errors], names: Sequence[str]) -> float:
    """The mean negative log-likelihood of each group of subjects by the fit of the others; a group is one
    subject where there are no more than ``MOST_GROUPS``."""
    subjects = list(dict.fromkeys(part.subject for part in parts))
    found = []
    for first in range(min(len(subjects), MOST_GROUPS)):
        group = set(subjects[first::MOST_GROUPS])
        model = fit([part for part in parts if part.subject not in group], names)
        found += [model.nll(part) for part in parts if part.subject in group]
    return float(np.mean(found))


def covering(model: LogLinear, parts: Sequence[Errors], level: float) -> LogLinear:
    """``model``, scaled so that a normal interval at ``level`` covers this fraction of ``parts``."""
    scores = np.concatenate([model.scores(part) for part in parts])
    weights = equal(parts)
    order = np.argsort(scores)
    index = int(np.searchsorted(np.cumsum(weights[order]), level - 1e-12))
    quantile = float(scores[order[min(index, len(order) - 1)]])
    return model.scaled(quantile / NormalDist().inv_cdf((1 + level) / 2))


def equal(parts: Sequence[Errors]) -> Array64:
    """Weights of all errors, with the same sum for every part."""
    each = [np.full(len(p.error), 1 / (len(p.error) * len(parts))) for p in parts]
    return np.concatenate(each)


def _newton(
    x: Array64, squares: Array64, weights: Array64, start: Array64, ridge: Array64
) -> tuple[Array64, float]:
    """The minimum over c of sum weights (x c + squares exp(-x c)) + sum ridge c^2, and how far it lies from
    ``start``."""

    def cost(at: Array64) -> tuple[float, Array64]:
        log_variance = np.clip(x @ at, -MOST, MOST)
        ratio = squares * np.exp(-log_variance)
        return float((weights * (log_variance + ratio)).sum() + (ridge * at**2).sum()), ratio

    at, (best, ratio) = start, cost(start)
    for _ in range(100):
        gradient = x.T @ (weights * (1 - ratio)) + 2 * ridge * at
        hessian = (x * (weights * ratio)[:, None]).T @ x + 2 * np.diag(ridge)
        hessian += 1e-10 * np.trace(hessian) * np.eye(len(at))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        found, tried = cost(at - step)
        while found > best and size > 1e-6:
            size /= 2
            found, tried = cost(at - size * step)
        if found > best:
            break
        at, gained, best, ratio = at - size * step, best - found, found, tried
        if gained < 1e-12:
            break
    return at, float(np.abs(at - start).max())
