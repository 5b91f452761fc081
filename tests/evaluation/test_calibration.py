"""Calibration: known miscalibration is found, coverage is what it says, and units do not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt.errors import InputError
from petrt.evaluation.calibration import (
    LEVELS,
    Voxels,
    active_voxels,
    coverage,
    coverage_table,
    error_by_std,
    fit_factor,
    std_description,
    std_record,
    z_value,
)
from petrt.model.spec import CalibrationSpec, SamplerSpec

SHAPE = (20, 30, 24)


def gaussian(
    seed: int, understated: float, shape: tuple[int, ...] = SHAPE
) -> tuple[np.ndarray, ...]:
    """Mean, std and reference whose error is normal with ``understated`` times the std."""
    rng = np.random.default_rng(seed)
    mean = 100 + rng.gamma(4.0, 20.0, shape)
    std = rng.gamma(3.0, 1.0, shape) + 0.1
    reference = mean + understated * std * rng.standard_normal(shape)
    return mean, std, reference


def subjects(understated: float, count: int = 3) -> list[Voxels]:
    return [active_voxels(*gaussian(seed, understated)) for seed in range(count)]


# Larger errors would move voxels out of the mask, which cuts their distribution.
@settings(max_examples=25, deadline=None)
@given(understated=st.floats(0.05, 8), level=st.floats(0.3, 0.98), seed=st.integers(0, 1000))
def test_known_miscalibration_is_found(understated, level, seed):
    voxels = active_voxels(*gaussian(seed, understated))
    assert fit_factor([voxels], level) == pytest.approx(understated, rel=0.06)


@settings(max_examples=50, deadline=None)
@given(
    scores=st.lists(st.lists(st.floats(0.01, 50), min_size=4, max_size=40), min_size=1, max_size=4),
    level=st.floats(0.05, 0.95),
)
def test_coverage_at_the_fitted_level_is_the_level_to_one_voxel(scores, level):
    """Whatever the distribution; every subject weighs the same, however many voxels it has."""
    cases = [Voxels(np.array(s, np.float32), np.ones(len(s), np.float32), len(s)) for s in scores]
    factor = fit_factor(cases, level)
    after = coverage_table(cases, factor, [level])[0].mean
    assert after >= level - 1e-9
    # The next smaller factor is too small: nothing is covered that need not be.
    assert coverage_table(cases, factor * (1 - 1e-6), [level])[0].mean < level


def test_calibrated_normal_errors_are_covered_at_every_level():
    cases = subjects(4.0)
    table = coverage_table(cases, fit_factor(cases, 0.9))
    assert [row.level for row in table] == list(LEVELS)
    for row in table:
        assert row.mean == pytest.approx(row.level, abs=0.01)
        assert row.lowest <= row.mean <= row.highest
    for row in coverage_table(cases):  # four times too narrow
        exact = math.erf(z_value(row.level) / 4 / math.sqrt(2))
        assert row.mean == pytest.approx(exact, abs=0.01)


def test_a_large_subject_counts_no_more_than_a_small_one():
    small = active_voxels(*gaussian(0, 1.0, (8, 10, 10)))
    large = active_voxels(*gaussian(1, 6.0, (40, 40, 20)))
    row = coverage_table([small, large], levels=[0.9])[0]
    assert row.mean == pytest.approx((coverage(small, 0.9) + coverage(large, 0.9)) / 2)
    twice = fit_factor([small, large, large], 0.9)
    assert fit_factor([small, large], 0.9) < twice


def test_more_level_covers_more_and_needs_a_wider_interval():
    cases = subjects(2.0)
    levels = np.linspace(0.05, 0.99, 30)
    covered = [row.mean for row in coverage_table(cases, 1.3, list(levels))]
    assert np.all(np.diff(covered) > 0)
    widths = [fit_factor(cases, level) * z_value(level) for level in levels]
    assert np.all(np.diff(widths) > 0)
    by_factor = [coverage(cases[0], 0.9, factor) for factor in (0.5, 1.0, 2.0, 4.0)]
    assert np.all(np.diff(by_factor) > 0)


@settings(max_examples=20, deadline=None)
@given(unit=st.sampled_from([2.0**-40, 2.0**-7, 8.0, 2.0**30]), spread=st.floats(0.1, 10))
def test_the_unit_changes_nothing_and_the_factor_undoes_a_gain_of_the_std(unit, spread):
    mean, std, reference = gaussian(5, 3.0, (10, 10, 10))
    plain = active_voxels(mean, std, reference)
    scaled = active_voxels(mean * unit, std * unit, reference * unit)
    np.testing.assert_array_equal(scaled.error, plain.error)
    assert error_by_std([scaled]) == error_by_std([plain])
    wider = active_voxels(mean, std * spread, reference)
    assert fit_factor([wider], 0.9) * spread == pytest.approx(fit_factor([plain], 0.9), rel=1e-5)


def test_only_active_voxels_count():
    mean, std, reference = gaussian(0, 2.0)
    reference[:, :, :12] = 0.049 * reference[:, :, 12:].max()
    mean[:, :, :12] = 1e6
    voxels = active_voxels(mean, std, reference)
    assert voxels.active == 20 * 30 * 12
    assert fit_factor([voxels], 0.9) == pytest.approx(2.0, rel=0.05)
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 4, 20] = True
    assert active_voxels(mean, std, reference, mask).active == 6


def test_thinning_keeps_every_kth_voxel_and_the_answer():
    arrays = gaussian(3, 2.5, (64, 48, 40))
    whole, thin = active_voxels(*arrays), active_voxels(*arrays, most=20_000)
    assert thin.active == whole.active
    assert len(thin.error) == math.ceil(whole.active / math.ceil(whole.active / 20_000))
    np.testing.assert_array_equal(thin.error, whole.error[:: math.ceil(whole.active / 20_000)])
    assert fit_factor([thin], 0.9) == pytest.approx(fit_factor([whole], 0.9), rel=0.03)


def test_voxels_without_spread_are_counted_and_covered_only_where_exact():
    error = np.array([0, 0, 1, 1, 2, 3, 4, 5, 6, 7], np.float32)
    std = np.array([0, 1, 0, 1, 1, 1, 1, 1, 1, 1], np.float32)
    voxels = Voxels(error, std, 10)
    assert voxels.zero_std == 2
    assert coverage(voxels, 0.9, 1e6) == 0.9  # all but the one that no factor helps
    assert fit_factor([voxels], 0.9) * z_value(0.9) == pytest.approx(7)
    with pytest.raises(InputError, match="no factor covers 95%"):
        fit_factor([voxels], 0.95)


def test_error_against_std_lies_on_the_identity_once_calibrated():
    cases = subjects(3.0)
    before = error_by_std(cases)
    assert len(before) == 20
    assert sum(row.share for row in before) == pytest.approx(1)
    assert [row.std for row in before] == sorted(row.std for row in before)
    for row in before:
        assert row.error == pytest.approx(3 * row.std, rel=0.12)
    for row in error_by_std(cases, fit_factor(cases, 0.9)):
        assert row.error == pytest.approx(row.std, rel=0.12)
    # Bins of one weight, in units of the reference's maximum.
    assert [row.share for row in before] == pytest.approx([0.05] * 20, rel=1e-2)
    assert before[-1].std < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": np.ones((2, 2, 3))}, "differ in shape"),
        ({"reference": np.zeros((2, 2, 2))}, "no positive, finite maximum"),
        ({"reference": np.full((2, 2, 2), np.inf)}, "no positive, finite maximum"),
        ({"std": np.full((2, 2, 2), -1.0)}, "negative std"),
        ({"std": np.full((2, 2, 2), np.nan)}, "non-finite"),
        ({"mean": np.full((2, 2, 2), np.nan)}, "non-finite"),
        ({"mask": np.zeros((2, 2, 2), bool)}, "the mask is empty"),
        ({"mask": np.ones((2, 2, 2))}, "mask of booleans"),
    ],
)
def test_unfit_volumes_are_refused(change, message):
    given = {"mean": np.ones((2, 2, 2)), "std": np.ones((2, 2, 2)), "reference": np.ones((2, 2, 2))}
    with pytest.raises(InputError, match=message):
        active_voxels(**(given | change))


def test_nothing_to_calibrate_on_is_refused():
    with pytest.raises(InputError, match="no subject"):
        fit_factor([], 0.9)
    exact = active_voxels(np.ones((2, 2, 2)), np.ones((2, 2, 2)), np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="no error"):
        fit_factor([exact], 0.9)


FITTED = CalibrationSpec(
    factor=3.0, level=0.9, sampler=SamplerSpec(kind="ddim", steps=5), samples=8, subjects=4
).model_copy(update={"dose_fraction": 0.01})


@pytest.mark.parametrize(
    ("calibration", "sampler", "samples", "dose", "reason"),
    [
        (None, FITTED.sampler, 8, None, "no calibration"),
        (FITTED, SamplerSpec(kind="ddpm", steps=5), 8, None, "ddim of 5 steps"),
        (FITTED, SamplerSpec(kind="ddim", steps=10), 8, None, "ddim of 5 steps"),
        (FITTED, FITTED.sampler, 4, None, "8 samples"),
        (FITTED, FITTED.sampler, 1, None, "single sample"),
        (FITTED, FITTED.sampler, 8, 0.05, "dose of 0.01"),
    ],
)
def test_a_factor_holds_only_for_what_it_was_fitted_for(
    calibration, sampler, samples, dose, reason
):
    record = std_record(calibration, sampler, samples, dose)
    assert (record["calibrated"], record["factor"], record["level"]) == (False, 1.0, None)
    assert reason in record["reason"]
    assert "not calibrated" in std_description(record)


@pytest.mark.parametrize("dose", [None, 0.01])
def test_a_factor_holds_for_its_own_sampler_samples_and_dose(dose):
    record = std_record(FITTED, FITTED.sampler, 8, dose)
    assert (record["calibrated"], record["factor"], record["level"]) == (True, 3.0, 0.9)
    text = std_description(record)
    assert text == "petrt std, calibrated for 90 % intervals; not for diagnostic use"
    assert len(text) < 80
