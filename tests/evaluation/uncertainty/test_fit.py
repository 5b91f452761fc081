"""The fit of log-linear deviations: known parameters come back, useless ones go, intervals cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from petrt.errors import InputError
from petrt.evaluation.uncertainty.fit import (
    MOST_GROUPS,
    WORTH,
    Errors,
    chosen,
    covering,
    fit,
    left_out,
)

NAMES = ("constant", "a", "b")
TRUE = np.array([-3.0, 0.8, -0.4])
BIAS = np.array([0.05, -0.3])


def subjects(
    count: int = 4, n: int = 3000, bias: bool = False, tails: bool = False
) -> list[Errors]:
    """Errors with known deviations; ``b`` matters, and there is no useless feature."""
    parts = []
    for k in range(count):
        rng = np.random.default_rng(k)
        x = np.column_stack([np.ones(n), rng.normal(size=(n, 2)) + 2])
        drawn = rng.standard_t(4, n) if tails else rng.normal(size=n)
        error = drawn * np.exp(0.5 * x @ TRUE)
        values = rng.random((n, 2)) if bias else None
        if values is not None:
            error += values @ BIAS
        parts.append(Errors(f"sub-{k}", error, x, NAMES, values))
    return parts


@pytest.mark.parametrize("bias", [False, True])
def test_known_parameters_come_back(bias):
    model = fit(subjects(bias=bias), NAMES)
    np.testing.assert_allclose(model.coefficients, TRUE, atol=0.06)
    np.testing.assert_allclose(model.bias, BIAS if bias else [], atol=0.02)


def test_a_unit_changes_the_constant_alone():
    parts = subjects(bias=True)
    scaled = [Errors(p.subject, 7 * p.error, p.features, p.names, 7 * p.values) for p in parts]
    one, other = fit(parts, NAMES), fit(scaled, NAMES)
    np.testing.assert_allclose(other.coefficients[1:], one.coefficients[1:], atol=1e-5)
    assert other.coefficients[0] - one.coefficients[0] == pytest.approx(2 * np.log(7), abs=1e-4)
    np.testing.assert_allclose(other.bias, one.bias, atol=1e-6)


def test_the_likelihood_is_the_largest():
    parts = subjects()
    model = fit(parts, NAMES)
    best = np.mean([model.nll(part) for part in parts])
    for k in range(3):
        for step in (-0.05, 0.05):
            moved = model.coefficients.copy()
            moved[k] += step
            other = type(model)(model.names, moved)
            assert np.mean([other.nll(part) for part in parts]) > best


def test_features_that_do_not_help_are_left_out():
    rng = np.random.default_rng(9)
    parts = [
        Errors(
            p.subject,
            p.error,
            np.column_stack(
                [p.features, rng.normal(size=len(p.error)), np.full(len(p.error), 3.0)]
            ),
            (*NAMES, "noise", "same"),
        )
        for p in subjects()
    ]
    assert chosen(parts).names == NAMES
    without = left_out(parts, ("constant", "a"))
    assert without > left_out(parts, NAMES) + WORTH


def test_a_left_out_subject_is_unknown_to_the_fit_also_in_a_group_of_many():
    """Each subject has a level of its own. Whoever saw it would find it likelier."""
    parts = [
        replace(part, subject=f"{part.subject}-{k}", error=part.error * np.exp(k / 4))
        for k in range(MOST_GROUPS)
        for part in subjects(2, n=200)
    ]
    seen = np.mean([fit(parts, NAMES).nll(part) for part in parts])
    assert left_out(parts, NAMES) > seen


def test_intervals_cover_what_is_asked_also_with_long_tails():
    parts = subjects(tails=True)
    model = fit(parts, NAMES)
    for level in (0.5, 0.9):
        scaled = covering(model, parts, level)
        z = {0.5: 0.67449, 0.9: 1.64485}[level]
        shares = [np.mean(scaled.scores(part) <= z) for part in parts]
        assert np.mean(shares) == pytest.approx(level, abs=1e-3)


def test_few_errors_are_not_fitted_exactly():
    few = [
        Errors(p.subject, p.error[:2], p.features[:2], p.names, p.values[:2])
        for p in subjects(bias=True)
    ]
    model = fit(few, NAMES)
    assert np.isfinite(model.coefficients).all()
    assert np.abs(model.coefficients).max() < 40


def test_no_error_at_all_is_refused():
    part = subjects(1)[0]
    with pytest.raises(InputError, match="no error"):
        fit([Errors("a", 0 * part.error, part.features, part.names)], NAMES)
