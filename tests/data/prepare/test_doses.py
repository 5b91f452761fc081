"""Doses in names: anchored, whatever the case, never guessed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petrt.data.prepare.doses import dose_in, dose_of_entity, without_dose
from petrt.errors import InputError

REDUCED = (
    *("1-{} dose", "1_{}_Dose", "1-{}DOSE", "1to{}"),
    *("D{}", "d{}", "DRF_{}", "drf-{}", "DRF {}", "Drf{}"),
)
FULL = ("Full_dose", "full dose", "FULL-DOSE", "NORMAL", "normal", "Normal_dose")
# What may stand around a dose: words and numbers that state none.
AROUND = st.sampled_from(
    ["", "2.886 x 600 WB", "Anonymous-06", "PET 2022", "1.65mm", "Subject_184-189", "3D", "WB"]
)

# A busy machine is no failure.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(st.sampled_from(REDUCED), st.integers(2, 999), AROUND, AROUND, st.sampled_from(" _"))
def test_a_reduction_is_read_whole_between_other_words(pattern, dose, before, after, gap):
    assert dose_in(f"{before}{gap}{pattern.format(dose)}{gap}{after}") == dose


@relaxed
@given(st.sampled_from(FULL), AROUND, AROUND, st.sampled_from(" _"))
def test_full_dose_between_other_words(pattern, before, after, gap):
    assert dose_in(f"{before}{gap}{pattern}{gap}{after}") == 1


@relaxed
@given(st.sampled_from(REDUCED), st.integers(2, 999), st.sampled_from("0123456789abcxyz"))
def test_a_pattern_that_goes_on_is_not_cut_short(pattern, dose, more):
    name = f"{pattern.format(dose)}{more}"
    read = dose_in(name)
    grown = f"{dose}{more}"
    assert read is None or (more.isdigit() and "ose" not in name.lower() and read == int(grown))


@relaxed
@given(st.sampled_from(REDUCED), st.sampled_from(REDUCED), st.integers(2, 99), st.integers(2, 99))
def test_two_doses_are_refused_and_one_stated_twice_is_not(first, second, a, b):
    name = f"{first.format(a)} {second.format(b)}"
    if a == b:
        assert dose_in(name) == a
    else:
        with pytest.raises(InputError, match=rf"two doses, 1/{min(a, b)} and 1/{max(a, b)}"):
            dose_in(name)


NO_DOSE = (
    *("Anonymous_ANO_20220222_1618293", "Subject_184-189", "180822_1", "2022-1-10 dose", "D10.5"),
    *("3D10", "AD10", "1-1000 dose", "abnormal", "fullness", "dose", "D", ""),
)


@pytest.mark.parametrize("name", NO_DOSE)
def test_names_without_a_dose(name):
    assert dose_in(name) is None


@pytest.mark.parametrize("name", ["D0", "DRF_0", "1-0 dose"])
def test_no_dose_is_one_over_zero(name):
    with pytest.raises(InputError, match="1/0"):
        dose_in(name)


def test_full_and_reduced_at_once_are_refused():
    with pytest.raises(InputError, match="two doses, full and 1/10"):
        dose_in("NORMAL D10")


def test_the_rest_of_a_name_names_the_subject():
    assert without_dose("Anonymous-06_DRF-50") == "Anonymous-06"
    assert without_dose("Anonymous-06_normal") == "Anonymous-06"
    assert without_dose("D10_case 3") == "case 3"
    assert without_dose("DRF_100") == ""


ENTITIES = {"full": 1, "FullDose": 1, "1to100": 100, "DRF20": 20, "d4": 4, "acdyn": None}


@pytest.mark.parametrize(("value", "dose"), [*ENTITIES.items(), ("1to1000", None)])
def test_values_of_bids_entities(value, dose):
    assert dose_of_entity(value) == dose
