"""The number a volume is divided by, and the warnings about its grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from petrt.errors import UsageError
from petrt.imaging.grid import domain_warnings, plan
from petrt.imaging.scaling import nth_largest, scale_of, smoothed
from petrt.model.spec import DomainSpec, ScaleRule

VOXEL = (2.0, 2.0, 2.0)
SMOOTHED = ScaleRule(volume_ml=2.5)  # of an object of 110 ml


def object_in_air(level: float) -> np.ndarray:
    data = np.zeros((40, 40, 40), np.float32)
    data[8:32, 8:32, 8:32] = level
    return data


def test_maximum_is_the_largest_voxel():
    data = object_in_air(5.0)
    data[3, 4, 5] = 70.0
    assert scale_of(data, ScaleRule(kind="maximum"), None) == 70.0


def test_smoothed_hottest_of_a_uniform_object_is_its_level():
    assert scale_of(object_in_air(5.0), SMOOTHED, VOXEL) == pytest.approx(5.0, rel=0.01)


def test_smoothed_hottest_hardly_feels_noise_that_owns_the_maximum():
    clean = object_in_air(5.0)
    noisy = np.random.default_rng(0).poisson(clean).astype(np.float32)
    assert noisy.max() > 2.5 * clean.max()
    expected = scale_of(clean, SMOOTHED, VOXEL)
    assert scale_of(noisy, SMOOTHED, VOXEL) == pytest.approx(expected, rel=0.1)


def test_air_around_the_object_does_not_matter():
    data = object_in_air(5.0)
    data[10:20, 10:20, 10:20] = 8.0
    padded = np.pad(data, ((30, 10), (0, 50), (20, 0)))
    assert scale_of(padded, SMOOTHED, VOXEL) == scale_of(data, SMOOTHED, VOXEL)


def test_hottest_volume_is_a_rank_of_voxels():
    """Without smoothing to speak of: the level that 10 of the 1 ml voxels exceed or reach."""
    data = np.random.default_rng(0).permutation(1000).reshape(10, 10, 10).astype(np.float32)
    rule = ScaleRule(fwhm_mm=1e-3, volume_ml=10.0)
    assert scale_of(data, rule, (10.0, 10.0, 10.0)) == 990.0
    assert scale_of(data, ScaleRule(fwhm_mm=1e-3, volume_ml=1e6), (10.0, 10.0, 10.0)) == 500.0


def test_scale_follows_the_unit():
    data = np.random.default_rng(0).poisson(object_in_air(5.0)).astype(np.float32)
    expected = 1000 * scale_of(data, SMOOTHED, VOXEL)
    assert scale_of(data * 1000, SMOOTHED, VOXEL) == pytest.approx(expected, rel=1e-6)


def test_width_is_in_millimetres_along_each_axis():
    """The same object on half as many voxels of twice the length, along one axis."""
    fine = object_in_air(5.0)
    fine[20:24, 20:24, 20:24] = 50.0
    for axis in range(3):
        coarse = fine.take(np.arange(0, 40, 2), axis)
        voxel = tuple(4.0 if i == axis else 2.0 for i in range(3))
        expected = scale_of(fine, SMOOTHED, VOXEL)
        assert scale_of(coarse, SMOOTHED, voxel) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("value", [0.0, 7.0, -1.0])
@pytest.mark.parametrize("kind", ["maximum", "smoothed-hottest"])
def test_constant_volumes_have_no_scale(value, kind):
    data = np.full((12, 12, 12), value, np.float32)
    assert scale_of(data, ScaleRule(kind=kind), VOXEL) == 0.0


def test_volumes_without_positive_activity_have_no_scale():
    data = -np.random.default_rng(0).random((12, 12, 12), dtype=np.float32)
    assert scale_of(data, ScaleRule(kind="maximum"), VOXEL) == 0.0
    assert scale_of(data, SMOOTHED, VOXEL) == 0.0
    assert scale_of(np.linspace(0, 1e-40, 1000).reshape(10, 10, 10), SMOOTHED, VOXEL) == 0.0


SIZES = st.tuples(*[st.integers(1, 33)] * 3)


@settings(max_examples=60, deadline=None)
@given(
    size=SIZES,
    sigma=st.tuples(*[st.floats(0.05, 6.0)] * 3),
    threads=st.integers(1, 3),
    order=st.sampled_from(["C", "F", "strided"]),
    seed=st.integers(0, 99),
)
def test_smoothing_gives_the_bits_of_scipy(size, sigma, threads, order, seed):
    data = np.random.default_rng(seed).standard_normal((*size, 2)).astype(np.float32)[..., 0]
    if order != "strided":
        data = np.array(data, order=order)
    expected = gaussian_filter(data, sigma, mode="nearest")
    np.testing.assert_array_equal(smoothed(data, sigma, threads), expected)


@settings(max_examples=100, deadline=None)
@given(
    size=st.integers(1, 4000),
    share=st.floats(0.0, 1.0),
    levels=st.sampled_from([2, 30, 10**6]),  # many equal voxels, or hardly any
    seed=st.integers(0, 99),
)
def test_nth_largest_is_what_sorting_gives(size, share, levels, seed):
    data = np.random.default_rng(seed).integers(0, levels, size).astype(np.float32)
    n = 1 + round(share * (size - 1))
    assert nth_largest(data, n) == np.sort(data)[-n]


def test_nth_largest_where_the_sample_misleads():
    """Large numbers that no sample sees, and such that only the sample sees."""
    hidden, shown = np.zeros((2, 61 * 500), np.float32)
    hidden[1::61] = np.arange(500)
    shown[::61] = np.arange(500)
    for n in (1, 10, 400, 2000):
        assert nth_largest(hidden, n) == np.sort(hidden)[-n]
        assert nth_largest(shown, n) == np.sort(shown)[-n]


def test_smoothing_needs_a_voxel_size():
    with pytest.raises(UsageError, match="voxel size"):
        scale_of(object_in_air(5.0), SMOOTHED, None)


def test_domain_warnings():
    domain = DomainSpec(voxel_mm=(2.0, 2.0, 2.0), matrix=(96, 112))
    alike = plan((91, 109, 91), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert domain_warnings(alike, domain) == []
    assert domain_warnings(plan((96, 112, 50)), domain) == []

    body = plan((440, 440, 600), np.diag([1.5, 1.65, 1.65, 1.0]))
    assert domain_warnings(body, domain) == [
        "voxel size along x is 1.5 mm, trained on 2 mm",
        "field of view along x is 660 mm, trained on 192 mm",
        "field of view along y is 726 mm, trained on 224 mm",
    ]
    tilted = np.diag([2.0, 2.0, 2.0, 1.0])
    c, s = np.cos(0.4), np.sin(0.4)
    tilted[1:3, 1:3] = [[2 * c, -2 * s], [2 * s, 2 * c]]
    assert domain_warnings(plan((96, 112, 90), tilted), domain) == [
        "slices are tilted by 23 degrees, trained on axial ones"
    ]
    assert domain_warnings(plan((9, 9, 9)), DomainSpec(voxel_mm=(2.0, 2.0, 2.0))) == []
