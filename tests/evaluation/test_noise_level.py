"""The noise level: its value, what it does not depend on, and where there is none."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from petrt.evaluation.noise_level import FEATURES, signature
from tests.population import MM, ellipsoid, scan


def test_of_white_noise_it_is_the_standard_deviation():
    activity = ellipsoid(0)
    noise = np.random.default_rng(0).standard_normal(activity.shape).astype(np.float32)
    for share in (0.02, 0.1, 0.4):
        found = signature(activity + np.float32(share * 2e4) * noise, MM)
        # The hottest level of so small an ellipsoid is about its activity.
        assert math.exp(found.level) == pytest.approx(share, rel=0.12)


def test_it_changes_neither_with_the_unit_nor_with_flips():
    volume = scan(0, 0.05)
    found = signature(volume, MM)
    assert np.isfinite(found.features).all()
    for same in (volume * 1e-7, volume * 300, volume[::-1], volume[:, ::-1], volume[..., ::-1]):
        other = signature(same, MM)
        assert other.level == pytest.approx(found.level, abs=1e-3)
        np.testing.assert_allclose(other.features, found.features, atol=2e-3)


def test_it_does_not_depend_on_threads_or_on_air_around():
    volume = scan(1, 0.05)
    one, wide = signature(volume, MM, 1), np.pad(volume, ((6, 9), (4, 4), (3, 12)))
    np.testing.assert_array_equal(signature(volume, MM, 3).features, one.features)
    assert signature(wide, MM).level == pytest.approx(one.level, abs=0.02)


def test_more_noise_is_a_higher_level():
    levels = [signature(scan(2, 0.05, extra), MM).level for extra in (0.0, 0.5, 1, 2, 4)]
    assert levels == sorted(levels)
    assert np.diff(levels[1:]) == pytest.approx(math.log(2), abs=0.08)


def test_axial_noise_is_told_from_noise_within_slices():
    rng, activity = np.random.default_rng(0), ellipsoid(0)
    noise = rng.standard_normal((57, 56, 56)).astype(np.float32)
    smooth = (noise[1:] + noise[:-1]) / np.float32(math.sqrt(2))  # along z alone
    at = list(FEATURES).index("axial")
    white, along = (signature(activity + 2000 * each, MM) for each in (noise[1:], smooth))
    assert along.features[at] < white.features[at] - 0.3


@pytest.mark.parametrize(
    "volume",
    [
        np.zeros((20, 20, 20)),
        -np.ones((20, 20, 20)),
        np.ones((1, 8, 8)),
        np.random.default_rng(0).random((3, 16, 16)),
    ],
)
def test_what_is_empty_or_small_has_none(volume):
    assert signature(volume.astype(np.float32), MM) is None


def test_a_cropped_head_has_no_air_and_a_level_all_the_same():
    found = signature(scan(3, 0.05)[14:42, 14:42, 14:42], MM)
    known = dict(zip(FEATURES, found.features, strict=True))
    assert math.isnan(known["air"])
    assert math.isfinite(known["size"])
    assert found.level == pytest.approx(signature(scan(3, 0.05), MM).level, abs=0.15)


@pytest.mark.slow
def test_it_is_quick():
    volume = np.zeros((128, 128, 128), np.float32)
    volume[20:110, 15:115, 20:105] = np.random.default_rng(0).gamma(4, 1000, (90, 100, 85))
    signature(volume, MM)
    begun = time.process_time()
    signature(volume, MM)
    assert time.process_time() - begun < 0.6  # 0.3 s on a core of its own
