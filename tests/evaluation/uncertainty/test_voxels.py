"""The map's formula, and which fit is valid for a run."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petrt.evaluation.uncertainty.choice import fitted_for, size_reason, std_record
from petrt.evaluation.uncertainty.errors import voxel_errors
from petrt.evaluation.uncertainty.fit import LogLinear, fit
from petrt.evaluation.uncertainty.judge import (
    judge_voxels,
    map_spec,
    of_map,
    of_region,
    region_spec,
)
from petrt.evaluation.uncertainty.voxels import (
    NAMES,
    features,
    gradient,
    predicted_std,
    smoothed_variance,
)
from petrt.model.spec import CalibrationSpec, MapSpec, RegionSpec, SamplerSpec, UncertaintySpec
from tests.evaluation.uncertainty.fits import FIT
from tests.models import tiny_spec

SPEC = MapSpec(
    constant=-5.0,
    samples=0.3,
    image=0.9,
    gradient=0.2,
    dose=-0.5,
    samples_dose=0.02,
    image_dose=-0.01,
    gradient_dose=0.03,
)


@pytest.fixture
def volumes() -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations and image [Z, H, W]."""
    rng = np.random.default_rng(3)
    return tuple(rng.random((2, 9, 12, 10)).astype(np.float32) * np.float32([[[[0.1]]], [[[1.0]]]]))


def test_the_map_is_its_formula(volumes):
    std, image = volumes
    v = np.log(gaussian_filter(std.astype(float) ** 2, 1.5, mode="nearest") + 1e-7)
    i, d = np.log(image + 1e-2), np.log(0.05)
    slopes = np.gradient(gaussian_filter(image.astype(float), 1.0, mode="nearest"))
    g = np.log(np.linalg.norm(slopes, axis=0) + 1e-2)
    log_variance = -5 + 0.3 * v + 0.9 * i + 0.2 * g - 0.5 * d
    log_variance += 0.02 * v * d - 0.01 * i * d + 0.03 * g * d
    np.testing.assert_allclose(
        predicted_std(SPEC, std, image, 0.05), np.exp(log_variance / 2), rtol=1e-4
    )


def test_fit_and_map_use_the_same_features(volumes):
    std, image = volumes
    parts = (smoothed_variance(std), image, gradient(image))
    x = features(*(part.reshape(-1) for part in parts), 0.05)
    by_fit = np.exp(0.5 * x @ np.array([getattr(SPEC, name) for name in NAMES]))
    np.testing.assert_allclose(predicted_std(SPEC, std, image, 0.05).reshape(-1), by_fit, rtol=1e-4)


def test_a_single_slice_has_a_gradient_and_a_flat_image_none():
    image = np.random.default_rng(0).random((1, 9, 8)).astype(np.float32)
    assert gradient(image).min() > 0
    assert not gradient(np.ones((3, 4, 5), np.float32)).any()


def test_simulated_errors_give_their_parameters_back(volumes):
    rng = np.random.default_rng(0)
    parts = []
    for k in range(4):
        for dose in (0.01, 0.05, 0.25):
            std = gaussian_filter(rng.random((24, 24, 24)), 2).astype(np.float32) ** 3
            image = rng.random(std.shape).astype(np.float32)
            error = rng.normal(size=std.shape) * predicted_std(SPEC, std, image, dose)
            mask = np.ones(std.shape, bool)
            full = (image + error).astype(np.float32)
            parts.append(voxel_errors(f"sub-{k}", image, std, full, dose, mask))
    found = map_spec(fit(parts, ("constant", "samples", "image", "gradient", "dose")))
    assert found.samples == pytest.approx(0.3, abs=0.1)
    assert found.image == pytest.approx(0.9, abs=0.05)
    unknown, peaks = [None] * len(parts), [1.0] * len(parts)
    flat = of_map(MapSpec(constant=-4.0))
    judged = judge_voxels(of_map(SPEC), flat, parts, unknown, peaks, {}, 0.9)
    assert judged["paired"][1] < 0
    assert all(share == pytest.approx(0.9, abs=0.02) for share in judged["by_fifth"])


def test_what_a_bundle_keeps_is_the_fit():
    assert map_spec(of_map(SPEC)) == SPEC
    region = RegionSpec(
        bias=0.1, bias_dose=0.4, recovery=0.2, recovery_dose=0.3, constant=1, volume=3
    )
    assert region_spec(of_region(region)) == region
    assert isinstance(of_region(region), LogLinear)


FITTED = UncertaintySpec(
    level=0.8, subjects=8, doses=(0.01, 0.25), volumes_ml=(1.0, 100.0), fits=(FIT,)
)


@pytest.mark.parametrize(
    ("sampler", "samples", "dose", "reason"),
    [
        (FIT.sampler, 4, 0.03, ""),
        (FIT.sampler, 4, 0.01, ""),
        (FIT.sampler, 4, 0.005, "1/100 to 1/4"),
        (FIT.sampler, 4, 0.5, "1/100 to 1/4"),
        (FIT.sampler, 4, None, "unknown"),
        (FIT.sampler, 8, 0.03, "4 samples"),
        (FIT.sampler, 1, 0.03, "single sample"),
        (SamplerSpec(kind="mean", steps=1), 4, 0.03, "ddpm of 10"),
    ],
)
def test_a_fit_is_valid_for_its_samples_and_doses(sampler, samples, dose, reason):
    model = tiny_spec().model_copy(update={"uncertainty": FITTED})
    fit_, why = fitted_for(model, sampler, samples, dose)
    assert (fit_ is FIT) == (reason == "")
    assert reason in why
    record = std_record(model, sampler, samples, dose)
    assert record == {
        "calibrated": reason == "",
        "factor": 1.0,
        "level": None if reason else 0.8,
        "reason": why,
    }


def test_a_model_with_a_factor_alone_works_as_before():
    old = CalibrationSpec(factor=2.0, level=0.9, sampler=SamplerSpec(), samples=8, subjects=2)
    model = tiny_spec().model_copy(update={"calibration": old})
    assert std_record(model, SamplerSpec(), 8, None)["factor"] == 2.0
    assert fitted_for(model, SamplerSpec(), 8, None)[0] is None


def test_a_run_that_no_fit_is_valid_for_has_the_factor_that_is():
    old = CalibrationSpec(
        factor=2.0, level=0.9, sampler=SamplerSpec(kind="mean", steps=1), samples=8, subjects=2
    )
    model = tiny_spec().model_copy(update={"calibration": old, "uncertainty": FITTED})
    assert std_record(model, old.sampler, 8, None)["factor"] == 2.0
    assert std_record(model, FIT.sampler, 4, 0.03)["factor"] == 1.0
    assert not std_record(model, old.sampler, 4, None)["calibrated"]


def test_regions_far_from_those_of_the_fit_have_no_interval():
    model = tiny_spec().model_copy(update={"uncertainty": FITTED})
    assert size_reason(model, 0.6) == size_reason(model, 150.0) == ""
    assert "1 to 100 ml" in size_reason(model, 0.4)
    assert "1 to 100 ml" in size_reason(model, 300.0)
