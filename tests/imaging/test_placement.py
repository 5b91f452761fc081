"""Orientation, padding and limits: the way to the network grid and back."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt.errors import InputError, UsageError
from petrt.imaging.affine import check_affine
from petrt.imaging.grid import MIN_IN_PLANE, plan

SIZES_MM = (2.0, 2.5, 3.0)  # along world x, y, z
ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def canonical_volume(shape: tuple[int, int, int] = (9, 12, 10)) -> np.ndarray:
    return np.random.default_rng(1).random(shape, dtype=np.float32)


def oriented(
    canonical: np.ndarray, axes: tuple[int, ...], signs: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The same object stored with input axis i along world axis axes[i], in direction signs[i]."""
    stored = np.transpose(canonical, axes)[tuple(slice(None, None, sign) for sign in signs)]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for i, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, i] = sign * SIZES_MM[axis]
        if sign < 0:
            affine[axis, 3] = (stored.shape[i] - 1) * SIZES_MM[axis]
    return stored, affine


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_all_orientations_give_one_network_array(axes, signs):
    canonical = canonical_volume()
    stored, affine = oriented(canonical, axes, signs)
    placement = plan(stored.shape, affine, SIZES_MM)
    network = placement.to_network(stored)
    assert network.shape == placement.network_shape == (10, 16, 16)
    assert network.dtype == np.float32
    assert network.flags.c_contiguous
    assert placement.voxel_mm == pytest.approx(SIZES_MM)
    assert placement.canonical_shape == canonical.shape
    # [Z, H, W] with H = x and W = y; 9 is padded to 16 by 3 and 4, 12 by 2 and 2.
    np.testing.assert_array_equal(network[:, 3:12, 2:14], canonical.transpose(2, 0, 1))
    assert np.count_nonzero(network) == np.count_nonzero(canonical)
    back = placement.from_network(network)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, stored)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::7])
@pytest.mark.parametrize("target_mm", [SIZES_MM, (1.6, 1.6, 1.6)])
def test_threads_change_nothing(axes, signs, target_mm):
    stored, affine = oriented(canonical_volume(), axes, signs)
    placement = plan(stored.shape, affine, target_mm)
    network = placement.to_network(stored)
    np.testing.assert_array_equal(placement.to_network(stored, 3), network)
    np.testing.assert_array_equal(
        placement.from_network(network, 3), placement.from_network(network)
    )


def rotation(degrees: float) -> np.ndarray:
    """Rotation about x, then about z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return about_z @ about_x


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::5])
def test_oblique_affine_is_turned_to_the_nearest_axes(axes, signs):
    canonical = canonical_volume()
    stored, affine = oriented(canonical, axes, signs)
    affine[:3, :3] = rotation(20.0) @ affine[:3, :3]
    placement = plan(stored.shape, affine, SIZES_MM)
    assert not any(placement.resampled)
    assert 20.0 <= placement.tilt_deg < 30.0
    network = placement.to_network(stored)
    np.testing.assert_array_equal(network[:, 3:12, 2:14], canonical.transpose(2, 0, 1))
    np.testing.assert_array_equal(placement.from_network(network), stored)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(8, 33), st.integers(8, 33), st.integers(1, 9)),
    multiple=st.sampled_from([1, 4, 8, 16]),
    orientation=st.sampled_from(ORIENTATIONS),
)
def test_any_size_comes_back_bit_for_bit(shape, multiple, orientation):
    stored, affine = oriented(canonical_volume(shape), *orientation)
    placement = plan(stored.shape, affine, SIZES_MM, multiple=multiple)
    z, h, w = placement.network_shape
    assert z == shape[2]
    assert (h % multiple, w % multiple) == (0, 0)
    assert 0 <= h - shape[0] < multiple
    assert all(abs(after - before) <= 1 for before, after in placement.padding)
    back = placement.from_network(placement.to_network(stored))
    assert back.tobytes() == stored.tobytes()


def test_bare_array_is_only_padded():
    data = canonical_volume()
    placement = plan(data.shape, target_mm=(1.0, 1.0, 1.0))
    assert placement.voxel_mm is None
    assert not any(placement.resampled)
    np.testing.assert_array_equal(
        placement.to_network(data)[:, 3:12, 2:14], data.transpose(2, 0, 1)
    )


def test_voxel_size_alone_means_canonical_axes():
    placement = plan((20, 20, 20), target_mm=(2.0, 2.0, 2.0), voxel_mm=(4.0, 2.0, 2.01))
    assert placement.axes == (0, 1, 2)
    assert placement.flips == (False, False, False)
    assert placement.resampled == (True, False, False)
    assert placement.grid_shape == (40, 20, 20)
    assert placement.grid_mm == (2.0, 2.0, 2.01)


def test_wrong_shapes_state_expected_and_actual():
    placement = plan((9, 12, 10))
    with pytest.raises(ValueError, match=r"\(9, 12, 10\).*\(9, 12, 11\)"):
        placement.to_network(np.zeros((9, 12, 11)))
    with pytest.raises(ValueError, match=r"\(10, 16, 16\).*\(9, 12, 10\)"):
        placement.from_network(np.zeros((9, 12, 10)))
    with pytest.raises(ValueError, match="shape"):
        plan((9, 12))


def test_small_planes_are_refused_with_the_limit():
    plan((MIN_IN_PLANE, MIN_IN_PLANE, 1))
    with pytest.raises(InputError, match=r"pet\.nii: 7 x 30 x 30 voxels .*8 x 8"):
        plan((7, 30, 30), name="pet.nii")
    # 20 voxels of 0.5 mm are only 5 of the model's 2 mm.
    with pytest.raises(InputError, match=r"5 x 5 x 5 voxels of 2 x 2 x 2 mm"):
        plan((20, 20, 20), target_mm=(2.0, 2.0, 2.0), voxel_mm=(0.5, 0.5, 0.5))


def test_huge_grids_are_refused_with_the_limit():
    with pytest.raises(InputError, match=r"50000 x 50000 x 50000 voxels .* 536870912"):
        plan((100, 100, 100), target_mm=(2.0, 2.0, 2.0), voxel_mm=(1000.0, 1000.0, 1000.0))
    with pytest.raises(InputError, match="more than 999 "):  # padded to 16 x 16
        plan((10, 10, 4), max_voxels=999)
    plan((10, 10, 4), max_voxels=1024)


def test_contradictions_and_bad_sizes_are_refused():
    with pytest.raises(UsageError, match="both affine and voxel_mm"):
        plan((9, 9, 9), np.eye(4), voxel_mm=(1.0, 1.0, 1.0))
    for sizes in [(0.0, 1.0, 1.0), (-1.0, 1.0, 1.0), (float("nan"), 1.0, 1.0), (1.0, 1.0)]:
        with pytest.raises(InputError, match="voxel_mm"):
            plan((9, 9, 9), voxel_mm=sizes)
    with pytest.raises(ValueError, match="target_mm"):
        plan((9, 9, 9), np.eye(4), (2.0, 0.0, 2.0))


def singular() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 2] = affine[:3, 1]
    return affine


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.full((4, 4), np.nan), "NaN"),
        (np.diag([1.0, np.inf, 1.0, 1.0]), "infinity"),
        (np.diag([1.0, 0.0, 1.0, 1.0]), "singular"),
        (singular(), "singular"),
        (np.eye(3), "shape (3, 3)"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
        (np.diag([1e300, 1e300, 1e300, 1.0]), "singular"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_bad_affines_are_refused(affine, message):
    with pytest.raises(InputError, match=re.escape(message)):
        check_affine(affine)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_voxel_size_does_not_make_an_affine_singular(size):
    check_affine(np.diag([size, size, size, 1.0]))
