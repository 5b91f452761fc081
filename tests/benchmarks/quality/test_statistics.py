"""Means, intervals and paired differences, by hand."""

from __future__ import annotations

import math

import pytest

from benchmarks.quality.statistics import over_subjects, paired, rounded, summarise


def test_the_interval_is_students():
    """t(0.975, 2 degrees) = 4.302653; sd of 1, 2, 3 is 1."""
    found = summarise([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (found.mean, found.sd, found.subjects) == (2.0, 1.0, 3)
    assert found.ci == pytest.approx((2 - half, 2 + half), rel=1e-6)
    assert (found.lowest, found.highest) == (1.0, 3.0)


def test_one_subject_has_a_mean_and_no_spread():
    found = summarise([4.0])
    assert (found.mean, found.sd, found.ci) == (4.0, None, None)
    assert found.record()["ci95"] is None


def test_equal_values_have_an_interval_of_no_width():
    assert summarise([2.0, 2.0, 2.0]).ci == (2.0, 2.0)


def test_pairs_are_formed_by_subject_whatever_the_order():
    ours = {"a": 10.0, "b": 20.0, "c": 33.0, "only ours": 1e6}
    theirs = {"c": 30.0, "b": 18.0, "a": 9.0, "only theirs": -1e6}
    found = paired(ours, theirs)
    assert found is not None
    # Differences 1, 2, 3: subjects differ by 10, which pairing takes out.
    assert (found.mean, found.sd, found.subjects) == (2.0, 1.0, 3)
    back = paired(theirs, ours)
    assert back is not None
    assert back.mean == -2.0


def test_subjects_without_a_value_are_left_out():
    found = over_subjects({"a": None, "b": 3.0, "c": 5.0})
    assert found is not None
    assert (found.mean, found.subjects) == (4.0, 2)
    assert over_subjects({"a": None}) is None
    assert over_subjects({}) is None
    assert paired({"a": 1.0, "b": None}, {"a": None, "b": 1.0}) is None


def test_numbers_for_json_are_short_and_finite():
    assert rounded(1 / 3) == 0.333333
    assert rounded(math.inf) is None
    assert rounded(None) is None
