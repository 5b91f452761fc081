"""The scanner: an exact projector and its transpose, right counts, an OSEM that converges."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from petrt.data.simulate import scanner
from petrt.data.simulate.projector import ANGLES, SUBSETS, make_projector, strip_areas

SIZE = 40
RNG_SEED = 7


def disc(radius: float, size: int = SIZE, fine: int = 8) -> NDArray[np.float32]:
    """A disc of ones [size, size], its edge averaged over fine x fine points per pixel."""
    axis = (np.arange(size * fine) + 0.5) / fine - size / 2
    inside = np.hypot(axis[:, None], axis[None, :]) < radius
    return inside.reshape(size, fine, size, fine).mean(axis=(1, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def cylinder() -> NDArray[np.float32]:
    """10 kBq/ml in a cylinder of 24 voxels, blurred as the scanner would."""
    volume = np.repeat(10e3 * disc(12)[:, :, None], 6, axis=2)
    return scanner.blur(volume.astype(np.float32), 5.0, 4.0)


def test_a_pixel_at_45_degrees_casts_a_triangle() -> None:
    areas = strip_areas(np.zeros(1), np.zeros(1), np.pi / 4, 5).toarray()[:, 0]
    side = (np.sqrt(0.5) - 0.5) ** 2
    np.testing.assert_allclose(areas, [0, side, 1 - 2 * side, side, 0], atol=1e-6)


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (33, 20)])
def test_every_pixel_is_seen_whole_at_every_angle(shape: tuple[int, int]) -> None:
    projector = make_projector(*shape)
    ones = np.ones((projector.bins, 1), np.float32)
    per_subset = ANGLES // SUBSETS
    for forward, back in zip(projector.forward, projector.back, strict=True):
        assert forward.shape == (per_subset * projector.bins, projector.pixels.size)
        for angle in range(per_subset):
            rows = slice(angle * projector.bins, (angle + 1) * projector.bins)
            np.testing.assert_allclose(back[:, rows] @ ones, 1, atol=1e-5)


def test_disc_projects_to_its_chords() -> None:
    radius = 14.3
    projector = make_projector(SIZE, SIZE)
    sinogram = projector.project(disc(radius).reshape(-1, 1)[projector.pixels])
    edges = np.arange(projector.bins + 1) - projector.bins / 2
    s = np.clip(edges, -radius, radius)
    area = s * np.sqrt(radius**2 - s**2) + radius**2 * np.arcsin(s / radius)
    chords = np.diff(area)  # the mean of 2 sqrt(R^2 - s^2) over each strip
    error = np.abs(sinogram.reshape(ANGLES, projector.bins) - chords)
    # Turned pixels reach over the edges of strips, which shows where the chord falls steeply.
    assert error.max() < 0.04 * 2 * radius
    assert error[:, np.abs(edges[1:] - 0.5) < 11].max() < 0.01 * 2 * radius


def test_back_projection_is_the_adjoint() -> None:
    projector = make_projector(SIZE, SIZE)
    rng = np.random.default_rng(RNG_SEED)
    for forward, back in zip(projector.forward, projector.back, strict=True):
        x = rng.standard_normal(forward.shape[1])
        y = rng.standard_normal(forward.shape[0])
        assert (forward @ x) @ y == pytest.approx(x @ (back @ y), rel=1e-9, abs=1e-9)


def test_counts_follow_activity_volume_and_sensitivity(cylinder: NDArray[np.float32]) -> None:
    volume = cylinder * np.array([1, 2, 0, 1, 1, 3], np.float32)
    mean, randoms = scanner.expected_counts(volume, 4.0)
    becquerel = volume.sum(axis=(0, 1), dtype=np.float64) * 0.064
    expected = (1 + scanner.RANDOMS) * scanner.SENSITIVITY * becquerel
    np.testing.assert_allclose(mean.sum(axis=0), expected, rtol=1e-4)
    np.testing.assert_allclose(randoms * mean.shape[0] * 11, mean.sum(axis=0), rtol=1e-4)


def test_thinning_keeps_its_share_of_the_same_counts() -> None:
    rng = np.random.default_rng(RNG_SEED)
    full = scanner.draw_counts(rng, np.full((200, 200), 50.0, np.float32))
    low = scanner.thin_counts(rng, full, 20)
    assert (low <= full).all()
    assert low.mean() == pytest.approx(2.5, rel=0.02)
    assert low.var() == pytest.approx(2.5, rel=0.05)  # a thinned Poisson variable is Poisson
    rest = full - low
    assert abs(np.corrcoef(low.ravel(), rest.ravel())[0, 1]) < 0.02  # and independent of the rest


def test_osem_recovers_what_was_measured_without_noise(cylinder: NDArray[np.float32]) -> None:
    mean, randoms = scanner.expected_counts(cylinder, 4.0)
    image = scanner.osem(mean, randoms, cylinder.shape) / scanner.count_factor(4.0)
    assert np.abs(image - cylinder).max() < 0.06 * cylinder.max()
    core = cylinder > 0.99 * cylinder.max()
    assert image[core].mean() == pytest.approx(cylinder[core].mean(), rel=0.01)


def test_slices_do_not_touch_each_other(cylinder: NDArray[np.float32]) -> None:
    mean, randoms = scanner.expected_counts(cylinder, 4.0)
    counts = scanner.draw_counts(np.random.default_rng(RNG_SEED), mean)
    counts[:, 2] = 0
    together = scanner.osem(counts, randoms, cylinder.shape)
    assert not together[:, :, 2].any()
    alone = scanner.osem(counts[:, 4:5], randoms[4:5], (SIZE, SIZE, 1))
    assert np.array_equal(alone[:, :, 0], together[:, :, 4])


@pytest.mark.parametrize("dose", [1, 4, 20, 100])
def test_total_activity_is_preserved(cylinder: NDArray[np.float32], dose: int) -> None:
    rng = np.random.default_rng(RNG_SEED)
    mean, randoms = scanner.expected_counts(cylinder, 4.0)
    counts = scanner.thin_counts(rng, scanner.draw_counts(rng, mean), dose)
    image = scanner.reconstruct(counts, randoms, cylinder.shape, 4.0, dose)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.sum() == pytest.approx(cylinder.sum(), rel=0.01)
    # Beyond the noise of the counts there is no bias, but for the filter at the end slices.
    trues = counts.sum() - float(randoms.sum()) * counts.shape[0] / dose
    expected = trues * dose / scanner.count_factor(4.0) / ANGLES
    assert image.sum(dtype=np.float64) == pytest.approx(expected, rel=1e-3)


def test_noise_variance_is_inverse_to_the_dose(cylinder: NDArray[np.float32]) -> None:
    volume = np.repeat(cylinder, 8, axis=2)
    mean, randoms = scanner.expected_counts(volume, 4.0)
    core = ndimage.binary_erosion(volume > 0.95 * volume.max(), iterations=2)
    core[:, :, [0, -1]] = False
    variance = {}
    rng = np.random.default_rng(RNG_SEED)
    counts = scanner.draw_counts(rng, mean)
    for dose in (1, 4, 20):
        image = scanner.reconstruct(
            scanner.thin_counts(rng, counts, dose), randoms, volume.shape, 4.0, dose
        )
        variance[dose] = image[core].var()
    assert variance[4] / variance[1] == pytest.approx(4, rel=0.3)
    assert variance[20] / variance[4] == pytest.approx(5, rel=0.3)


def test_blur_has_the_stated_width() -> None:
    volume = np.zeros((41, 41, 41), np.float32)
    volume[20, 20, 20] = 1
    blurred = scanner.blur(volume, 5.0, 1.0)
    assert blurred.sum() == pytest.approx(1, rel=1e-4)
    profile = blurred[:, 20, 20] / blurred.max()
    assert np.interp(2.5, np.arange(21), profile[20:]) == pytest.approx(0.5, abs=0.01)
