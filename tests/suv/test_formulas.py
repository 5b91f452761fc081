"""The formulas of SUV against numbers worked out by hand or printed in their sources."""

from __future__ import annotations

import math

import pytest

from petrt.errors import UsageError
from petrt.suv.formulas import (
    KINDS,
    Body,
    check_kind,
    decay_constant,
    mean_activity_time,
    mean_decay,
    remaining,
)

# W 70 kg, H 175 cm: (W/H)² = 0.16, BMI = 22.857.
SIZES_G = {
    ("bw", "M"): 70_000,
    ("lbm", "M"): 77_000 - 19_200,
    ("lbm", "F"): 74_900 - 23_680,
    ("lbmjames128", "M"): 77_000 - 20_480,
    ("lbmjames128", "F"): 74_900 - 23_680,
    ("lbmjanma", "M"): 1000 * 9270 * 70 / (6680 + 216 * 22.857142857),
    ("lbmjanma", "F"): 1000 * 9270 * 70 / (8780 + 244 * 22.857142857),
    ("ibw", "M"): 48_000 + 1060 * 23,
    ("ibw", "F"): 45_500 + 910 * 23,
}


@pytest.mark.parametrize("case", SIZES_G, ids="-".join)
def test_body_masses(case):
    kind, sex = case
    assert Body(70, 175, sex).size(kind) == pytest.approx(SIZES_G[case], rel=1e-9)


def test_body_surface_of_du_bois():
    """Their own table: 70 kg, 175 cm has 1.85 m²."""
    assert Body(70, 175, None).size("bsa") / 1e4 == pytest.approx(1.85, abs=0.005)


@pytest.mark.parametrize("kind", ["lbm", "lbmjames128", "lbmjanma", "ibw"])
def test_other_sex_is_the_mean_of_both(kind):
    man, woman, other = (Body(62, 168, sex).size(kind) for sex in ("M", "F", "O"))
    assert man != woman
    assert other == pytest.approx((man + woman) / 2)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"bw"}))
def test_what_is_missing_is_named(kind):
    with pytest.raises(ValueError, match="no height"):
        Body(70, None, "F").size(kind)
    if kind != "bsa":
        with pytest.raises(ValueError, match="no sex"):
            Body(70, 170, None).size(kind)


@pytest.mark.parametrize(("kind", "body"), [("ibw", (20, 95, "F")), ("lbm", (250, 120, "M"))])
def test_formulas_beyond_their_range_give_no_size(kind, body):
    with pytest.raises(ValueError, match="not defined"):
        Body(*body).size(kind)


def test_decay():
    rate = decay_constant(6586.2)
    assert remaining(rate, 6586.2) == pytest.approx(0.5)
    assert remaining(rate, -6586.2) == pytest.approx(2)
    assert mean_decay(rate, 0) == 1
    for duration in (1e-6, 1.0, 300.0, 6586.2):
        # The mean activity by the trapezoidal rule.
        steps = 20_000
        activity = [remaining(rate, duration * n / steps) for n in range(steps + 1)]
        mean = (sum(activity) - (activity[0] + activity[-1]) / 2) / steps
        assert mean_decay(rate, duration) == pytest.approx(1 / mean, rel=1e-7)
        middle = mean_activity_time(rate, duration)
        assert remaining(rate, middle) == pytest.approx(mean, rel=1e-7)
        assert 0 <= middle < duration / 2 + 1e-9
    assert math.isclose(mean_activity_time(rate, 300), 150, abs_tol=0.5)


def test_kinds_are_words():
    assert check_kind("BW") == "bw"
    with pytest.raises(UsageError, match="choose bw, lbm"):
        check_kind("max")
