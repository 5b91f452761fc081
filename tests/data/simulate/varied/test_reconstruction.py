"""Reconstructions: right activity, noise as the counts say, sharper and grainier with a resolution model."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from petrt.data.simulate.projector import make_projector
from petrt.data.simulate.varied import reconstruction
from petrt.data.simulate.varied.physics import Measured
from petrt.data.simulate.varied.reconstruction import reconstruct
from tests.data.simulate.varied.scans import inside, plain, scan

Volume = NDArray[np.float32]


@cache
def images(**changes) -> tuple[Volume, Volume, Volume, Volume]:
    """The blurred cylinder, and its images without noise, at full dose and at 1/4."""
    drawn = plain(**changes)
    measured, blurred = scan(drawn)
    full, quarter = counts(measured)
    exact, noisy, noisier = reconstruct(
        [(measured.mean, 1), (full, 1), (quarter, 4)], measured, drawn
    )
    return blurred, exact, noisy, noisier


def counts(measured: Measured) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(5)
    full = rng.poisson(measured.mean)
    return full, rng.binomial(full, 0.25)


@pytest.mark.parametrize("psf", [0.0, 8.0])
def test_activity_is_right(psf: float) -> None:
    blurred, exact, full, quarter = images(psf_fwhm_mm=psf)
    core = inside(plain(), 60.0)
    assert exact[core].mean() == pytest.approx(10e3, rel=0.01)
    for image in (exact, full, quarter):
        assert image.sum() == pytest.approx(blurred.sum(), rel=0.01)


def test_noise_follows_the_root_of_the_dose() -> None:
    _, exact, full, quarter = images()
    core = inside(plain(), 60.0)
    noise = [np.std((image - exact)[core]) for image in (full, quarter)]
    assert noise[1] / noise[0] == pytest.approx(2, rel=0.05)


def test_attenuation_makes_the_centre_noisier() -> None:
    drawn = plain(axial_fov_mm=96.0)
    _, exact, full, _ = images(axial_fov_mm=96.0)
    centre = inside(drawn, 30.0)
    rim = inside(drawn, 75.0) & ~inside(drawn, 60.0)
    error = full - exact
    assert error[centre].std() > 1.2 * error[rim].std()


def test_a_resolution_model_sharpens_overshoots_and_correlates_the_noise() -> None:
    _, exact, full, _ = images()
    _, sharp, grainy, _ = images(psf_fwhm_mm=8.0)
    row = 32
    slope = [np.abs(np.diff(image[:, row, 4])).max() for image in (exact, sharp)]
    assert slope[1] > 1.2 * slope[0]
    assert (
        sharp[:, row, 4].max() > 1.04 * 10e3 > exact[:, row, 4].max()
    )  # Snyder et al.: edge artefact
    core = inside(plain(), 60.0)[1:]

    def correlation(error: Volume) -> float:
        return float((error[1:] * error[:-1])[core].mean() / (error[1:] ** 2)[core].mean())

    assert correlation(grainy - sharp) > correlation(full - exact) + 0.2
    assert (grainy - sharp)[1:][core].std() < (full - exact)[1:][core].std()


def test_the_blur_of_the_lines_is_its_own_transpose() -> None:
    drawn = plain(psf_fwhm_mm=11.0)
    projector = make_projector(*drawn.shape[:2], drawn.subsets)
    rng = np.random.default_rng(1)
    x, y = rng.random((2, 4 * projector.bins, 8)).astype(np.float32)
    there = np.vdot(reconstruction._resolve(x, projector, drawn), y)
    assert there == pytest.approx(
        np.vdot(x, reconstruction._resolve(y, projector, drawn)), rel=1e-5
    )
    ones = np.ones_like(x)
    assert reconstruction._resolve(ones, projector, drawn) == pytest.approx(ones, rel=1e-5)


def test_wrong_corrections_bias_the_image() -> None:
    drawn = plain()
    core = inside(drawn, 60.0)

    def mean(used: float = 1.0, **changes: float) -> float:
        told = plain(**changes)
        measured, _ = scan(told, used)
        return float(reconstruct([(measured.mean, 1)], measured, told)[0][core].mean())

    assert mean(used=0.98) < 0.985 * mean()  # too little attenuation corrected: too little activity
    assert mean(scatter_error=0.1) < 0.98 * mean()


def test_filter_and_empty_data() -> None:
    _, exact, full, _ = images()
    _, smooth_exact, smooth, _ = images(post_fwhm_mm=8.0)
    core = inside(plain(), 50.0)
    assert (smooth - smooth_exact)[core].std() < 0.4 * (full - exact)[core].std()
    measured, _ = scan(plain())
    nothing = np.zeros(measured.mean.shape, np.int32)
    (image,) = reconstruct([(nothing, 100)], measured, plain())
    assert not image.any()
