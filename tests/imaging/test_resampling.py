"""Resampling: constants, ramps, means and smooth objects survive the way there and back.

The tolerances are about twice what was measured.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from petrt.imaging.grid import Placement, plan
from petrt.imaging.resample import FWHM, operator

TARGET = (2.0, 2.0, 2.0)
VOXELS = [(1.0, 1.0, 1.0), (1.65, 1.65, 1.65), (3.0, 3.0, 2.0), (4.6875, 4.6875, 3.27)]


def placed(shape: tuple[int, int, int], voxel_mm: tuple[float, float, float]) -> Placement:
    return plan(shape, target_mm=TARGET, voxel_mm=voxel_mm)


def unpadded(placement: Placement, network: np.ndarray) -> np.ndarray:
    """The network array without padding, as canonical [x, y, z]."""
    (x, _), (y, _) = placement.padding
    nx, ny, _ = placement.grid_shape
    return network[:, x : x + nx, y : y + ny].transpose(1, 2, 0)


def gaussian(shape: tuple[int, int, int], voxel_mm, fwhm_mm: float, centre_mm) -> np.ndarray:
    axes = [
        np.exp(-(((np.arange(n) - (n - 1) / 2) * v - c) ** 2) / 2 / (fwhm_mm / FWHM) ** 2)
        for n, v, c in zip(shape, voxel_mm, centre_mm, strict=True)
    ]
    return np.einsum("x,y,z->xyz", *axes).astype(np.float32)


@pytest.mark.parametrize("voxel", VOXELS)
def test_the_field_of_view_is_covered_and_shares_its_centre(voxel):
    shape = (33, 40, 21)
    placement = placed(shape, voxel)
    for n, v, m, g in zip(shape, voxel, placement.grid_shape, placement.grid_mm, strict=True):
        assert 0 <= m * g - n * v < g
    blob = gaussian(shape, voxel, 14.0, (0, 0, 0))
    grid = unpadded(placement, placement.to_network(blob))
    centre = ndimage.center_of_mass(grid)
    np.testing.assert_allclose(centre, (np.array(grid.shape) - 1) / 2, atol=1e-3)


def test_rule_of_one_percent():
    assert placed((20, 20, 20), (2.019, 1.981, 2.0)).resampled == (False, False, False)
    assert placed((20, 20, 20), (2.021, 1.979, 2.0)).resampled == (True, True, False)


@pytest.mark.parametrize("voxel", VOXELS)
def test_constant_stays_constant(voxel):
    data = np.full((31, 26, 17), 3.7, np.float32)
    placement = placed(data.shape, voxel)
    network = placement.to_network(data)
    np.testing.assert_allclose(unpadded(placement, network), 3.7, rtol=2e-6)
    np.testing.assert_allclose(placement.from_network(network), 3.7, rtol=4e-6)


@pytest.mark.parametrize("voxel", VOXELS)
def test_ramp_survives_away_from_the_edges(voxel):
    shape = (36, 30, 24)
    x, y, z = np.indices(shape) * np.reshape(voxel, (3, 1, 1, 1))
    data = (10 + x - 0.5 * y + 0.25 * z).astype(np.float32)
    placement = placed(shape, voxel)
    back = placement.from_network(placement.to_network(data))
    inside = (slice(6, -6),) * 3
    np.testing.assert_allclose(back[inside], data[inside], atol=0.02)


@pytest.mark.parametrize("voxel", VOXELS)
def test_smooth_object_and_its_activity_come_back(voxel):
    """A lesion of 12 mm: peak within 4 % (the model's voxels are coarser) or 1 %, total 0.4 %."""
    shape = (48, 48, 48)
    data = gaussian(shape, voxel, 12.0, (1.3, -0.7, 0.4))
    placement = placed(shape, voxel)
    network = placement.to_network(data)
    volume = np.prod(placement.grid_mm) / np.prod(voxel)
    assert network.sum(dtype=np.float64) * volume == pytest.approx(data.sum(), rel=1e-3)
    back = placement.from_network(network)
    assert back.sum(dtype=np.float64) == pytest.approx(data.sum(), rel=4e-3)
    tolerance = 0.04 if min(voxel) < 1.5 else 0.01
    assert back.max() == pytest.approx(data.max(), rel=tolerance)
    np.testing.assert_allclose(back, data, atol=tolerance)


def test_going_coarser_does_not_alias():
    """A checkerboard of 1 mm voxels has no counterpart at 2 mm: it must turn into its mean."""
    index = np.indices((41, 41, 41)).sum(0)  # odd: the coarse voxels fall right onto fine ones
    data = (index % 2 * 2.0).astype(np.float32)
    grid = unpadded(*[p := placed(data.shape, (1.0, 1.0, 1.0)), p.to_network(data)])
    np.testing.assert_allclose(grid[2:-2, 2:-2, 2:-2], 1.0, atol=0.01)


def test_no_negative_activity_beside_a_steep_edge():
    data = np.zeros((40, 40, 40), np.float32)
    placement = placed(data.shape, (3.0, 3.0, 3.0))
    network = np.zeros(placement.network_shape, np.float32)
    network[20:30, 20:40, 20:40] = 5.0
    back = placement.from_network(network)
    assert back.min() == 0.0
    assert back.max() > 4.9


def test_orientation_and_resampling_combine():
    """An LPS volume of the same object gives the same network array as the RAS one."""
    shape, voxel = (30, 32, 28), (3.0, 2.5, 3.3)
    data = gaussian(shape, voxel, 16.0, (4.0, -3.0, 2.0))
    ras = plan(shape, np.diag([*voxel, 1.0]), TARGET)
    lps_affine = np.diag([-voxel[0], -voxel[1], voxel[2], 1.0])
    flipped = data[::-1, ::-1]
    lps = plan(shape, lps_affine, TARGET)
    np.testing.assert_allclose(lps.to_network(flipped), ras.to_network(data), atol=1e-6)
    back = lps.from_network(lps.to_network(flipped))
    np.testing.assert_allclose(back, flipped, atol=5e-3)


@pytest.mark.parametrize(("count", "step"), [(1, 0.5), (2, 0.5), (3, 0.4), (5, 3.0)])
def test_short_axes_are_resampled_too(count, step):
    new = max(1, round(count / step))
    matrix = operator(count, new, step, smooth=True)
    assert matrix.shape == (new, count)
    np.testing.assert_allclose(matrix @ np.ones(count), 1.0, rtol=1e-6)


def test_a_slice_thicker_than_the_model_s_is_split():
    data = np.random.default_rng(0).random((16, 16, 1), dtype=np.float32)
    placement = placed(data.shape, (2.0, 2.0, 6.0))
    assert placement.network_shape == (3, 16, 16)
    network = placement.to_network(data)
    np.testing.assert_allclose(network, np.repeat(data.transpose(2, 0, 1), 3, 0), rtol=1e-6)
    np.testing.assert_allclose(placement.from_network(network), data, rtol=1e-6)
