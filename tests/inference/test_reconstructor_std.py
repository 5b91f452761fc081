"""The std of a reconstruction: calibrated where the model has a factor for just this, else as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from petrt.errors import NonfiniteOutput
from petrt.model.bundle import Bundle, load_bundle
from petrt.model.spec import CalibrationSpec, SamplerSpec
from tests.models import Reconstructor, noisy_blob

SHAPE = (16, 21, 6)
FITTED = CalibrationSpec(
    factor=2.5, level=0.9, sampler=SamplerSpec(kind="ddim", steps=2), samples=3, subjects=2
)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob(SHAPE)


@pytest.fixture(scope="module")
def plain(tiny_bundle) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def calibrated(plain) -> Bundle:
    model = plain.model.model_copy(update={"calibration": FITTED})
    return replace(plain, manifest=plain.manifest.model_copy(update={"model": model}))


def run(bundle: Bundle, volume: np.ndarray, **options):
    usual = {"samples": 3, "sampler": "ddim", "steps": 2, "threads": 1}
    return Reconstructor(bundle, **(usual | options))(volume)


def test_the_factor_is_applied_to_the_std_alone(plain, calibrated, volume):
    before, after = run(plain, volume), run(calibrated, volume)
    np.testing.assert_array_equal(after.image, before.image)
    np.testing.assert_array_equal(after.std, before.std * np.float32(2.5))
    assert after.std.max() > 0
    assert before.stats["std"] == {
        "calibrated": False,
        "factor": 1.0,
        "level": None,
        "reason": "the model has no calibration",
    }
    assert after.stats["std"]["calibrated"]
    assert (after.stats["std"]["factor"], after.stats["std"]["level"]) == (2.5, 0.9)


@pytest.mark.parametrize("other", [{"samples": 2}, {"steps": 3}, {"sampler": "ddpm"}])
def test_other_samplers_and_samples_keep_their_plain_std(plain, calibrated, volume, other):
    before, after = run(plain, volume, **other), run(calibrated, volume, **other)
    np.testing.assert_array_equal(after.std, before.std)
    assert not after.stats["std"]["calibrated"]
    assert "fitted for" in after.stats["std"]["reason"]


def test_a_single_sample_has_no_std(calibrated, volume):
    result = run(calibrated, volume, samples=1)
    assert result.std is None
    assert not result.stats["std"]["calibrated"]


def test_on_grid_is_the_same_without_scale_placement_and_factor(plain, calibrated, volume):
    reconstructor = Reconstructor(calibrated, samples=3, sampler="ddim", steps=2, threads=1)
    result = run(plain, volume)
    scale = result.stats["frames"][0]["scale"]
    steps = []
    zhw = (volume / np.float32(scale)).transpose(2, 0, 1)
    mean, std, coarse = reconstructor.on_grid(zhw, progress=lambda *done: steps.append(done))
    for part, whole in ((mean, result.image), (std, result.std), (coarse, result.coarse)):
        np.testing.assert_allclose(part, whole.transpose(2, 0, 1) / scale, atol=1e-6, rtol=1e-6)
    assert steps[-1] == (6, 6)


@pytest.mark.parametrize("batch", [(1, 3), (2, 3)])
def test_every_so_many_slices_are_as_in_the_whole_volume(plain, volume, batch):
    options = {"samples": 3, "sampler": "ddim", "steps": 2, "threads": 1, "batch": batch}
    zhw = volume.transpose(2, 0, 1) / np.float32(900)
    reconstructor = Reconstructor(plain, **options)
    whole, part = reconstructor.on_grid(zhw), reconstructor.on_grid(zhw, every=4)
    for expected, got in zip(whole, part, strict=True):
        np.testing.assert_array_equal(got[::4], expected[::4])
        assert not got[2:4].any()


def test_on_grid_refuses_what_is_not_finite(plain):
    with pytest.raises(NonfiniteOutput, match="non-finite output"):
        Reconstructor(plain, samples=2, steps=1, threads=1).on_grid(np.full((3, 16, 16), np.nan))
