"""The correlation of neighbouring slices, and the width of the noise that has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petrt import _core
from petrt.errors import InputError
from petrt.evaluation.coherence import neighbour_correlation, sigma_of, slice_correlation
from petrt.model.spec import MOST_SIGMA_Z

ANYWHERE = np.ones((8, 64, 64), bool)


def noise(sigma_z: float, shape: tuple[int, int, int] = (8, 64, 64)) -> np.ndarray:
    volume = np.empty(shape, np.float32)
    for z, plane in enumerate(volume):
        _core.normals(3, 20 + z, 0, 0, plane.reshape(-1), sigma_z=sigma_z)
    return volume


@pytest.mark.parametrize("sigma_z", [0.0, 0.5, 0.8, 1.29, 2.5])
def test_the_width_is_found_from_the_noise_itself(sigma_z: float) -> None:
    found = neighbour_correlation(noise(sigma_z), ANYWHERE)
    assert found == pytest.approx(slice_correlation(sigma_z), abs=5 / np.sqrt(7 * 64 * 64))
    assert sigma_of(found) == pytest.approx(sigma_z, abs=0.45 if sigma_z == 0 else 0.05)


def test_correlation_is_pearsons_inside_the_mask() -> None:
    rng = np.random.default_rng(1)
    error, mask = rng.random((5, 9, 7)), rng.random((5, 9, 7)) < 0.6
    both = mask[:-1] & mask[1:]
    expected = np.corrcoef(error[:-1][both], error[1:][both])[0, 1]
    assert neighbour_correlation(error, mask) == pytest.approx(expected, rel=1e-12)
    error[~mask] = np.nan  # never read
    assert neighbour_correlation(3 * error + 2, mask) == pytest.approx(expected, rel=1e-9)


@given(st.floats(0.3, MOST_SIGMA_Z))
def test_width_and_correlation_are_inverses(sigma_z: float) -> None:
    assert sigma_of(slice_correlation(sigma_z)) == pytest.approx(sigma_z, abs=2e-3)


@given(st.floats(0.75, 0.97))
def test_high_correlations_follow_the_closed_form(correlation: float) -> None:
    closed = np.sqrt(-1 / (4 * np.log(correlation)))
    assert sigma_of(correlation) == pytest.approx(closed, rel=0.005)


def test_extremes() -> None:
    assert [sigma_of(each) for each in (-1, -0.2, 0, 0.001)] == [0, 0, 0, 0]
    assert [sigma_of(each) for each in (0.99, 1)] == [MOST_SIGMA_Z] * 2
    assert slice_correlation(0) == 0
    assert slice_correlation(1.3, 0) == pytest.approx(1, abs=1e-6)
    assert slice_correlation(1.3, -2) == slice_correlation(1.3, 2)
    assert slice_correlation(1.0, 7) == 0  # 2 K + 1 streams, none in common
    with pytest.raises(ValueError, match="sigma_z"):
        _core.slice_weights(np.nextafter(MOST_SIGMA_Z, 4))
    assert len(_core.slice_weights(MOST_SIGMA_Z)) == 10


@pytest.mark.parametrize("value", [np.nan, 1.01, -1.01])
def test_what_is_no_correlation_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="is no correlation"):
        sigma_of(value)


@pytest.mark.parametrize(
    ("error", "mask", "message"),
    [
        (np.zeros((2, 3)), np.ones((2, 3), bool), "give .Z, H, W."),
        (np.zeros((2, 3, 4)), np.ones((2, 3, 3), bool), "give .Z, H, W."),
        (np.zeros((2, 3, 4)), np.ones((2, 3, 4)), "the mask as booleans"),
        (np.zeros((1, 3, 4)), np.ones((1, 3, 4), bool), "no two neighbouring slices"),
        (np.zeros((2, 3, 4)), np.ones((2, 3, 4), bool), "the same in all voxels"),
        (np.full((2, 3, 4), np.nan), np.ones((2, 3, 4), bool), "non-finite"),
    ],
)
def test_errors_without_a_correlation_are_refused(error, mask, message) -> None:
    with pytest.raises(InputError, match=message):
        neighbour_correlation(error, mask)
