"""Numbers of a report against cases in which they are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petrt.evaluation.calibration import z_value
from petrt.evaluation.report import findings
from tests.evaluation.report.cases import SHAPE, SPOT, case, truth


def test_the_hot_spot_is_found_in_its_place():
    spots = findings.hot_spots(case())
    first = spots[0]
    assert first.voxel == SPOT
    assert first.at == pytest.approx((12, 10, 10))
    assert first.output.maximum == pytest.approx(truth().max())
    assert first.output.peak < first.output.maximum < first.input.maximum
    assert first.input.peak == pytest.approx(first.output.peak, rel=0.1)
    for one in spots:  # none within 25 mm of another
        for other in spots:
            apart = np.linalg.norm(np.subtract(one.at, other.at))
            assert one is other or apart > findings.APART_MM


def test_intervals_need_a_calibration():
    half = z_value(findings.LEVEL) * 5
    assert findings.hot_spots(case())[0].output.interval == pytest.approx((half, half), rel=1e-5)
    plain = case(record={"std": {"calibrated": False}})
    assert findings.hot_spots(plain)[0].output.interval is None
    profile = findings.line_profile(case(), SPOT)
    np.testing.assert_allclose(profile.half, half, rtol=1e-5)
    assert findings.line_profile(plain, SPOT).half is None


def test_a_spot_that_the_output_lost_is_found_all_the_same():
    lost = gaussian_filter(truth(), 4.0)
    found = findings.hot_spots(case(noise=1.0, output=lost))[0]
    assert np.abs(np.subtract(found.voxel, SPOT)).max() <= 1
    assert found.output.maximum < 0.6 * found.input.maximum


def test_the_profile_goes_through_the_spot():
    given = case(reference=truth())
    profile = findings.line_profile(given, SPOT)
    np.testing.assert_array_equal(profile.lines["output"], given.output[:, 30, 20])
    assert profile.mm[SPOT[0]] == pytest.approx(12)
    assert set(profile.lines) == {"input", "output", "reference"}


def test_noise_is_measured_before_and_after():
    given = case()
    before, after = (findings.noise_percent(v, given) for v in (given.input, given.output))
    assert before is not None
    assert after is not None
    assert after < before / 3


def test_a_filter_leaves_the_structure_that_it_damps():
    """A Gaussian multiplies a frequency f by w = exp(-2 (pi f sigma)^2); 1 - w stays in the residual."""
    sigma_mm = 4.0
    given = case(noise=0.0)
    smooth = gaussian_filter(given.input, sigma_mm / 2, mode="constant")
    spectrum = findings.residual_spectrum(case(noise=0.0, output=smooth), 500.0)
    assert spectrum is not None
    w = np.exp(-2 * (np.pi * spectrum.per_cm / 10 * sigma_mm) ** 2)
    low = spectrum.per_cm < 0.8
    np.testing.assert_allclose(spectrum.damped[low], 1 - w[low], atol=0.12)
    assert spectrum.damped[low][-1] > 0.3


def test_a_residual_of_noise_holds_no_structure():
    spectrum = findings.residual_spectrum(case(noise=5.0, reference=truth()), 500.0)
    assert spectrum is not None
    structured = spectrum.amplitudes["output"] > 0.01 * spectrum.amplitudes["output"].max()
    assert np.abs(spectrum.damped[structured]).max() < 0.1
    assert spectrum.lost is not None
    assert np.abs(spectrum.lost[structured]).max() < 0.2
    assert np.all(spectrum.amplitudes["residual"] > 0)


def test_a_volume_without_frequencies_has_no_spectrum():
    thin = {name: np.ones((3, 3, 1), np.float32) for name in ("input", "output", "std")}
    assert findings.residual_spectrum(case(**thin), 1.0) is None


def test_regions_of_labels_and_of_cubes():
    labels = np.zeros(SHAPE, np.int16)
    labels[18:22, 22:26, 16:20] = 7
    labels[SPOT] = 9
    given = case(output=1.1 * truth(), reference=truth(), labels=labels)
    found = findings.regions(given)
    assert found is not None
    assert found.what == "regions of the label map"
    assert found.reference == pytest.approx([100, truth()[SPOT]], rel=1e-3)
    np.testing.assert_allclose(found.output, 1.1 * found.reference, rtol=1e-6)
    cubes = findings.regions(case(output=1.1 * truth(), reference=truth()))
    assert cubes is not None
    assert len(cubes.output) > 3
    np.testing.assert_allclose(cubes.output, 1.1 * cubes.reference, rtol=1e-6)
    assert findings.regions(case()) is None
