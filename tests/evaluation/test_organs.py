"""The challenge's errors of organs."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.errors import InputError, UsageError
from petrt.evaluation.activity import roi_statistics
from petrt.evaluation.organs import ORGANS, organ_errors, parse_names


def regions():
    labels = np.zeros((4, 4, 4), int)
    labels[0], labels[1] = 1, 2
    reference = np.where(labels == 1, 10.0, 4.0)
    reference[0, 0, 0] = 20
    prediction = reference * np.where(labels == 1, 0.9, 1.25)
    return roi_statistics(prediction, labels, reference=reference)


def test_errors_are_absolute_and_in_per_cent_of_the_reference():
    liver, heart = organ_errors(regions(), {1: "liver", 2: "heart"})
    assert (liver.name, heart.name) == ("liver", "heart")
    assert liver.suvmean_error_percent == pytest.approx(10)
    assert liver.suvmax_error_percent == pytest.approx(10)
    assert liver.suvmax == pytest.approx(18)
    assert heart.suvmean_error_percent == pytest.approx(25)


def test_a_region_without_a_name_has_its_number():
    assert [organ.name for organ in organ_errors(regions(), {2: "heart"})] == ["1", "heart"]


def test_an_organ_that_is_not_there_is_an_error():
    with pytest.raises(InputError, match="no voxel has the label 3"):
        organ_errors(regions(), ORGANS)


def test_names_of_labels():
    assert parse_names("1=liver, 12=left kidney") == {1: "liver", 12: "left kidney"}
    assert parse_names("challenge") == ORGANS


@pytest.mark.parametrize("text", ["", "liver", "1=", "0=air", "1=a,1=b", "1=a;2=b", "1=a\nb"])
def test_what_names_no_label(text):
    with pytest.raises(UsageError, match="names is "):
        parse_names(text)
