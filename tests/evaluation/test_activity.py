"""Activity and region statistics against hand-computed numbers and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from petrt.errors import InputError
from petrt.evaluation.activity import PEAK_RADIUS_MM, Change, change, peak_map, roi_statistics

# Two regions of four voxels and a background of eight, in a volume of 2 x 2 x 5.
LABELS = np.zeros((2, 2, 5), np.int16)
LABELS[..., 0], LABELS[..., 1], LABELS[..., 3:] = 7, 2, 90
IMAGE = np.zeros(LABELS.shape)
IMAGE[..., 0] = [[1, 3], [5, 7]]  # mean 4, population variance 5
IMAGE[..., 1] = [[8, 8], [8, 8]]
IMAGE[..., 3], IMAGE[..., 4] = 1, 3  # mean 2, standard deviation 1
REFERENCE = np.where(LABELS == 7, 5.0, np.where(LABELS == 2, 10.0, 2.0))


def test_change_by_hand():
    source = np.array([1.0, 2.0, 3.0, 4.0])
    assert change(source, source) == Change(1.0, 0.0)
    assert change(1.1 * source, source).activity_ratio == pytest.approx(1.1)
    assert change(np.array([3.0, 2.0, 2.0, 2.0]), source) == Change(0.9, -25.0)
    assert change(np.zeros(4), source) == Change(0.0, -100.0)


@pytest.mark.parametrize("source", [np.zeros(4), np.array([-1.0, -1.0, 0.0, 0.0])])
def test_change_without_activity_is_none(source):
    assert change(source, source) == Change(None, None)


def test_change_sums_in_float64():
    volume = np.full((256, 256, 128), 0.1, np.float32)
    volume[0, 0, 0] = 1e6
    expected = math.fsum([1e6, float(np.float32(0.1)) * (volume.size - 1)]) / 2e6
    source = np.zeros_like(volume)
    source[0, 0, 0] = 2e6
    assert change(volume, source).activity_ratio == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bad", [np.ones(3), np.array([1.0, np.nan, 1.0, 1.0])])
def test_change_refuses(bad):
    with pytest.raises(InputError):
        change(bad, np.ones(4))


def test_regions_by_hand():
    two, seven, ground = roi_statistics(IMAGE, LABELS)
    assert [r.label for r in (two, seven, ground)] == [2, 7, 90]
    assert (seven.voxels, seven.mean, seven.max) == (4, 4.0, 7.0)
    assert seven.std == pytest.approx(math.sqrt(5))
    assert seven.cov == pytest.approx(math.sqrt(5) / 4)
    assert (two.mean, two.std, two.cov) == (8.0, 0.0, 0.0)
    assert (ground.voxels, ground.mean, ground.std) == (8, 2.0, 1.0)
    assert seven.peak is seven.volume_ml is seven.cnr is seven.mean_bias_percent is None


def test_bias_and_contrast_by_hand():
    two, seven, ground = roi_statistics(
        IMAGE, LABELS, reference=REFERENCE, background=90, voxel_mm=(10, 10, 5)
    )
    assert seven.volume_ml == pytest.approx(2.0)
    assert (seven.reference_mean, seven.reference_max) == (5.0, 5.0)
    assert seven.mean_bias_percent == pytest.approx(-20.0)
    assert seven.max_bias_percent == pytest.approx(40.0)
    assert seven.cnr == pytest.approx((4 - 2) / 1)
    assert two.cnr == pytest.approx((8 - 2) / 1)
    assert seven.contrast_recovery == pytest.approx((4 / 2 - 1) / (5 / 2 - 1))
    assert two.contrast_recovery == pytest.approx((8 / 2 - 1) / (10 / 2 - 1))
    assert ground.cnr is ground.contrast_recovery is None


def test_what_cannot_be_formed_is_none():
    flat = np.where(LABELS == 90, 0.0, 1.0)
    rows = roi_statistics(flat, LABELS, reference=flat, background=90)
    by_label = {row.label: row for row in rows}
    assert by_label[90].cov is by_label[90].mean_bias_percent is None  # both would divide by 0
    assert by_label[7].cnr is by_label[7].contrast_recovery is None


def test_a_constant_region_has_no_spread():
    """Rounding in the mean must not give a spread of 1e-17, and so a CNR of 1e16."""
    image = np.where(LABELS == 90, 0.1, 0.7)
    rows = {r.label: r for r in roi_statistics(image, LABELS, background=90)}
    assert rows[90].std == rows[7].std == 0.0
    assert rows[7].cnr is None


def test_large_and_float_labels_are_listed():
    labels = LABELS.astype(np.float32)
    labels[labels == 90] = 1e6
    labels[labels == 2] = -4
    assert [r.label for r in roi_statistics(IMAGE, labels)] == [-4, 7, 1_000_000]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS * 0, {}, "empty"),
        (LABELS[1:], {}, "differ in shape"),
        (LABELS + 0.5, {}, "whole numbers"),
        (LABELS * np.nan, {}, "whole numbers"),
        (LABELS, {"background": 5}, r"label 5 is not among the labels \[2, 7, 90\]"),
        (LABELS, {"voxel_mm": (2, 2)}, "three positive lengths"),
        (LABELS, {"voxel_mm": (2, 2, 0)}, "three positive lengths"),
        (LABELS, {"reference": REFERENCE[1:]}, "differ in shape"),
        (LABELS, {"reference": REFERENCE * np.inf}, "non-finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # 0 * inf in a parameter
def test_refusals(labels, options, message):
    with pytest.raises(InputError, match=message):
        roi_statistics(IMAGE, labels, **options)


def brute_force_peak(volume, spacing, centre) -> float:
    """Mean of the voxels whose centres lie within the 1 cm^3 sphere around a voxel's centre."""
    offsets = (np.indices(volume.shape).T - centre) * spacing
    return float(volume.T[(offsets**2).sum(-1) <= PEAK_RADIUS_MM**2].mean())


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (4.6875, 4.6875, 3.27), (1.7, 2.5, 8.0)])
def test_peak_equals_brute_force(spacing):
    rng = np.random.default_rng(1)
    volume = rng.gamma(2.0, size=(11, 12, 13))
    labels = np.zeros(volume.shape, int)
    labels[2:5, :4, 9:] = 3  # touches the border
    labels[8, 8, 8] = 5
    sphere = peak_map(volume, spacing)
    expected = {
        label: max(brute_force_peak(volume, spacing, c) for c in np.argwhere(labels == label))
        for label in (3, 5)
    }
    assert sphere[8, 8, 8] == pytest.approx(expected[5], rel=1e-12)
    rows = roi_statistics(volume, labels, voxel_mm=spacing, reference=2 * volume)
    for row in rows:
        assert row.peak == pytest.approx(expected[row.label], rel=1e-12)
        assert row.peak_bias_percent == pytest.approx(-50.0)
