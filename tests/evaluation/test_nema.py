"""The NEMA phantom: its geometry by formula, and recovery known from the blur."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import erf

from petrt.data.simulate.iq_phantom import BACKGROUND, activity_of, scan
from petrt.errors import InputError, UsageError
from petrt.evaluation.nema import (
    CLEARANCE_MM,
    DIAMETERS_MM,
    KINDS,
    LARGEST,
    LUNG_MM,
    RING_MM,
    background_centres,
    measure,
    phantom,
    sphere_labels,
)

VOXEL = 2.0


@pytest.fixture(scope="module", params=KINDS)
def ideal(request):
    nema = phantom(request.param)
    return nema, *activity_of(nema, VOXEL)


def test_spheres_and_walls_have_their_volumes(ideal):
    nema, activity, affine = ideal
    voxel_ml = VOXEL**3 / 1000
    balls = sum(math.pi / 6 * d**3 for d in DIAMETERS_MM) / 1000
    low, high = nema.depth_mm
    depth = VOXEL * math.ceil((high - low) / VOXEL)
    outline = math.pi * 100**2
    if nema.kind == "body":  # a half-circle of 147 mm, a box of 140 x 77 mm, two quarters of 77 mm
        outline = math.pi * 147**2 / 2 + 140 * 77 + math.pi * 77**2 / 2
    body = (outline - math.pi * LUNG_MM**2) * depth / 1000
    total = float(activity.sum(dtype=np.float64)) / BACKGROUND * voxel_ml
    assert total == pytest.approx(body + 3 * balls, rel=1e-3)
    excess = (activity - BACKGROUND) * (activity > 1.001 * BACKGROUND)
    hot = float(excess.sum(dtype=np.float64)) / 3 / BACKGROUND * voxel_ml
    assert hot == pytest.approx(balls, rel=2e-3)
    labels = sphere_labels(activity.shape, affine, nema)
    for number, diameter in enumerate(DIAMETERS_MM, start=1):
        volume = np.count_nonzero(labels == number) * voxel_ml
        assert volume == pytest.approx(math.pi / 6 * diameter**3 / 1000, rel=0.06)


@pytest.mark.parametrize("voxel_mm", [7.3, 9.0, 10.0, 12.0])
@pytest.mark.parametrize("kind", KINDS)
def test_spheres_have_their_volumes_in_voxels_of_any_size(kind, voxel_mm):
    """Also where voxels are so large that those beside a sphere lie outside the volume."""
    activity, _ = activity_of(phantom(kind), voxel_mm)
    plain, _ = activity_of(phantom(kind, contrast=1.0 + 1e-9), voxel_mm)
    balls = sum(math.pi / 6 * d**3 for d in DIAMETERS_MM)
    excess = float((activity - plain).sum(dtype=np.float64)) / 3 / BACKGROUND * voxel_mm**3
    assert excess == pytest.approx(balls, rel=0.02)


def test_sixty_circles_keep_clear_of_walls_insert_and_spheres(ideal):
    nema = ideal[0]
    places = background_centres(nema)
    assert places.shape == (12, 2)
    assert len(nema.planes_mm) == 5
    x, y = places.T
    room = LARGEST / 2 + CLEARANCE_MM
    assert (nema.wall(x, y) >= room).all()
    assert (np.hypot(x, y) >= LUNG_MM + room).all()
    for sphere in nema.spheres:
        sx, sy, sz = sphere.centre_mm
        assert math.hypot(sx, sy) == pytest.approx(RING_MM)
        away = np.hypot(x - sx, y - sy)
        beside = [math.hypot(d, z - sz) for d in away for z in nema.planes_mm]
        assert min(beside) >= sphere.diameter_mm / 2 + CLEARANCE_MM
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert apart[~np.eye(12, dtype=bool)].min() > 20


def blurred_sphere(radius: float, sigma: float, r: np.ndarray) -> np.ndarray:
    """A ball of height 1 after a Gaussian, at distance ``r`` from its centre."""
    near, far = radius - r, radius + r
    edge = (erf(near / math.sqrt(2) / sigma) + erf(far / math.sqrt(2) / sigma)) / 2
    tail = np.exp(-(near**2) / 2 / sigma**2) - np.exp(-(far**2) / 2 / sigma**2)
    return edge - sigma / math.sqrt(2 * math.pi) / r * tail


def test_recovery_without_noise_is_that_of_the_blur(ideal):
    nema, activity, affine = ideal
    sigma = 3.0
    result = measure(ndimage.gaussian_filter(activity, sigma / VOXEL), affine, nema)
    for sphere in result.spheres:
        radius = sphere.diameter_mm / 2
        r = (np.arange(2000) + 0.5) * radius / 2000
        expected = float((blurred_sphere(radius, sigma, r) * r).sum() / r.sum())
        assert sphere.contrast_percent == pytest.approx(100 * expected, abs=3.0)
        assert sphere.variability_percent == pytest.approx(0, abs=0.5)
    assert result.lung_percent == pytest.approx(0, abs=0.5)
    assert result.background == pytest.approx(BACKGROUND, rel=1e-3)


def test_a_cold_sphere_has_its_own_recovery():
    nema = phantom("head", cold=(37.0,))
    activity, affine = activity_of(nema, VOXEL)
    largest = measure(activity, affine, nema).spheres[-1]
    assert not largest.hot
    assert largest.contrast_percent == pytest.approx(97, abs=2)


def test_the_variability_of_white_noise_is_that_of_the_mean_of_its_circle():
    nema = phantom("body")
    activity, affine = activity_of(nema, VOXEL)
    noise = np.random.default_rng(5).normal(0, 0.2 * BACKGROUND, activity.shape)
    for sphere in measure(activity + noise, affine, nema).spheres:
        pixels = math.pi / 4 * sphere.diameter_mm**2 / VOXEL**2
        assert sphere.variability_percent == pytest.approx(20 / math.sqrt(pixels), rel=0.3)


def test_the_pose_moves_the_phantom():
    nema = phantom("head", turn_deg=20)
    activity, affine = activity_of(nema, VOXEL)
    pose = np.eye(4)
    pose[:3, 3] = (31, -12, 200)
    assert measure(activity, pose @ affine, nema, pose) == measure(activity, affine, nema)
    with pytest.raises(InputError, match="does not hold the whole phantom"):
        measure(activity, pose @ affine, nema)


def test_an_empty_image_is_no_phantom():
    nema = phantom("head")
    activity, affine = activity_of(nema, VOXEL)
    with pytest.raises(InputError, match="mean of the background is 0"):
        measure(0 * activity, affine, nema)


@pytest.mark.parametrize(
    ("kind", "options"), [("torso", {}), ("body", {"cold": (12.0,)}), ("body", {"contrast": 1.0})]
)
def test_phantoms_that_do_not_exist(kind, options):
    with pytest.raises(UsageError):
        phantom(kind, **options)


def test_a_scan_is_the_same_again_and_noisier_at_a_lower_dose():
    nema = phantom("head")
    first, again = (scan(nema, (100, 20), seed=4, voxel_mm=4.0) for _ in range(2))
    assert np.array_equal(first.low[20], again.low[20])
    noise = [
        measure(image, first.affine, nema).spheres[-1].variability_percent
        for image in (first.full, first.low[20], first.low[100])
    ]
    assert noise == sorted(noise)
    total = first.activity.sum(dtype=np.float64)
    assert first.low[100].sum(dtype=np.float64) == pytest.approx(total, rel=0.02)
