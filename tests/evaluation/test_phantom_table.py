"""Contrast recovery at equal noise, and biases with their limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from petrt.data.simulate.iq_phantom import scan
from petrt.evaluation.nema import DIAMETERS_MM, NemaResult, SphereResult, measure, phantom
from petrt.evaluation.phantom_table import (
    FILTERS_MM,
    Images,
    bland_altman,
    equal_noise,
    figures,
    summary,
)
from petrt.evaluation.report.phantom_plot import phantom_png

VOXEL = 4.0


@pytest.fixture(scope="module")
def images():
    nema = phantom("head")
    made = scan(nema, (100,), seed=2, voxel_mm=VOXEL)
    output = ndimage.gaussian_filter(made.low[100], 1.0, mode="nearest")
    return Images(made.low[100], output, made.full, made.affine, nema)


@pytest.fixture(scope="module")
def record(images):
    return figures(images, {"other": images.full})


def test_a_gaussian_filter_gains_nothing_over_itself(record):
    assert "4" in record["gaussian_mm"]  # the output is the filter of 4 mm, sigma one voxel
    for row in record["equal_noise"]:
        assert row["gain_percent"] == pytest.approx(0, abs=0.5)


def test_strength_zero_is_the_input_and_one_the_output(record, images):
    for strength, image in (("0", images.low), ("1", images.output)):
        assert record["strengths"][strength] == measure(image, images.affine, images.nema).record()
    levels = [record["strengths"][s]["background"] for s in ("0", "0.5", "1")]
    assert levels[1] == pytest.approx((levels[0] + levels[2]) / 2)


def test_noise_that_no_filter_has_is_not_compared(images):
    results = [measure(images.full, images.affine, images.nema)]
    filters = [measure(images.low, images.affine, images.nema)] * len(FILTERS_MM)
    assert {row["gaussian_percent"] for row in equal_noise(results[0], filters)} == {None}


def test_a_higher_contrast_at_equal_noise_is_a_gain():
    def result(contrast: float, noise: float) -> NemaResult:
        return NemaResult((SphereResult(10.0, True, contrast, noise),), 0.0, 1.0)

    filters = [result(80, 20), result(60, 10), result(20, 5)]
    (row,) = equal_noise(result(77, 15), filters)  # half-way between the first two filters: 70
    assert row["gaussian_percent"] == pytest.approx(70)
    assert row["gain_percent"] == pytest.approx(10)


def test_differences_from_the_full_dose(record):
    assert set(record["differences"]["output"]) == {"mean", "max", "peak"}
    assert len(record["differences"]["input"]["max"]) == len(DIAMETERS_MM)
    highest = record["differences"]["input"]["max"], record["differences"]["output"]["max"]
    assert np.mean(highest[0]) > np.mean(highest[1])  # noise raises maxima, a filter lowers them


def test_limits_of_agreement():
    found = bland_altman([1.0, 3.0, None, 5.0])
    assert (found.count, found.mean) == (3, 3.0)
    assert (found.low, found.high) == pytest.approx((3 - 1.96 * 2, 3 + 1.96 * 2))
    assert bland_altman([2.0]).high is None
    assert bland_altman([None]).mean is None


def test_the_summary_is_the_mean_over_realisations(record):
    doubled = summary([record, record])
    single = summary([record])
    assert doubled["spheres"] == single["spheres"]
    assert doubled["realisations"] == 2
    assert doubled["bias"]["output"]["mean"]["count"] == 2 * len(DIAMETERS_MM)


def test_the_picture_is_the_same_again(record):
    first = phantom_png([record], "phantom")
    assert first.startswith(b"\x89PNG")
    assert phantom_png([record], "phantom") == first
