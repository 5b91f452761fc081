"""Regions of a run: measured in every sample, with intervals where the model has a fit for it."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from petrt.errors import InputError, UsageError
from petrt.evaluation.uncertainty.voxels import predicted_std
from petrt.inference import samples as samples_module
from petrt.inference.samples import sample_store
from petrt.model.spec import MapSpec, SamplerSpec, UncertaintySpec
from tests.evaluation.uncertainty.fits import FIT
from tests.models import Reconstructor, noisy_blob

SHAPE = (16, 21, 7)
USUAL = {"samples": 4, "sampler": "ddim", "steps": 2, "threads": 1}
SAMPLER = SamplerSpec(kind="ddim", steps=2)
FITTED = UncertaintySpec(
    level=0.9,
    subjects=3,
    doses=(0.01, 0.1),
    volumes_ml=(0.5, 2.0),
    fits=(
        FIT.model_copy(
            update={
                "sampler": SAMPLER,
                "map": MapSpec(constant=-4, samples=0.2, image=0.5, dose=-0.3),
            }
        ),
    ),
)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob(SHAPE)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    marked = np.zeros(SHAPE, np.uint8)
    marked[4:10, 5:12, 1:5] = 2
    marked[11, 12, 3] = 9
    return marked


@pytest.fixture(scope="module")
def calibrated(tiny):
    model = tiny.model.model_copy(update={"uncertainty": FITTED})
    return replace(tiny, manifest=tiny.manifest.model_copy(update={"model": model}))


@pytest.mark.parametrize("batch", [(1, 1), (2, 3), (7, 4)])
def test_the_samples_have_mean_and_std_of_the_results(tiny, volume, batch):
    reconstructor = Reconstructor(tiny, batch=batch, **USUAL)
    zhw = volume.transpose(2, 0, 1) / np.float32(900)
    mean, std, drawn = reconstructor.drawn_on_grid(zhw)
    assert drawn.shape == (4, *zhw.shape)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=1e-6)
    np.testing.assert_allclose(drawn.std(axis=0, ddof=1), std, atol=1e-6)
    assert len({sample.tobytes() for sample in drawn}) == 4
    plain = reconstructor.on_grid(zhw)
    np.testing.assert_array_equal(plain[0], mean)
    np.testing.assert_array_equal(plain[1], std)


def test_regions_change_no_image_and_measure_it(tiny, volume, labels):
    reconstructor = Reconstructor(tiny, **USUAL)
    without, result = reconstructor(volume), reconstructor(volume, regions=labels)
    np.testing.assert_array_equal(result.image, without.image)
    np.testing.assert_array_equal(result.std, without.std)
    rows = result.regions()
    assert [(row.frame, row.label, row.voxels) for row in rows] == [(0, 2, 168), (0, 9, 1)]
    assert rows[0].mean.value == pytest.approx(result.image[labels == 2].mean(), rel=1e-5)
    assert rows[1].max.value == result.image[11, 12, 3]
    assert {row.reason for row in rows} == {"the model has no calibration"}
    with pytest.raises(UsageError, match="no regions"):
        without.regions()
    with pytest.raises(UsageError, match="level"):
        result.regions(1.0)


def test_intervals_and_map_where_the_model_has_a_fit(calibrated, tiny, volume, labels):
    result = Reconstructor(calibrated, **USUAL)(volume, regions=labels, dose=0.05)
    plain = Reconstructor(tiny, **USUAL)(volume, dose=0.05)
    np.testing.assert_array_equal(result.image, plain.image)
    scale = np.float32(result.stats["frames"][0]["scale"])
    std, image = (v.transpose(2, 0, 1) / scale for v in (plain.std, plain.image))
    expected = scale * predicted_std(FITTED.fits[0].map, std, image, 0.05)
    # The network grid is padded along y, which the smoothing sees only near these edges.
    found = result.std.transpose(2, 0, 1)
    np.testing.assert_allclose(found[:, :, 7:14], expected[:, :, 7:14], rtol=1e-3)
    assert result.stats["std"] == {
        "calibrated": True,
        "factor": 1.0,
        "level": 0.9,
        "reason": "fitted for this sampler, these samples and doses",
    }
    large, single = result.regions(0.9)
    assert large.mean.low < large.mean.value < large.mean.high
    assert single.mean.low is None  # 0.008 ml
    assert "ml were fitted" in single.reason
    unknown = Reconstructor(calibrated, **USUAL)(volume, regions=labels, dose=0.5)
    assert "1/100 to 1/10" in unknown.regions()[0].reason
    assert not unknown.stats["std"]["calibrated"]


def test_frames_have_regions_of_their_own(calibrated, volume, labels):
    series = np.stack([volume, 3 * volume, 0 * volume], axis=-1)
    rows = Reconstructor(calibrated, **USUAL)(series, regions=labels, dose=0.05).regions()
    assert [row.frame for row in rows] == [0, 0, 1, 1, 2, 2]
    assert rows[2].mean.value == pytest.approx(3 * rows[0].mean.value, rel=0.1)
    assert rows[4].mean.value == 0
    assert rows[4].reason == "no activity"


def test_a_single_sample_has_values_alone(calibrated, volume, labels):
    options = USUAL | {"samples": 1}
    row = Reconstructor(calibrated, **options)(volume, regions=labels).regions()[0]
    assert row.mean.low is None
    assert row.reason == "a single sample has no standard deviation"


def test_labels_with_turned_axes_are_the_same_regions(tiny, volume, labels):
    affine = np.diag([2.0, 2, 2, 1])
    image = nibabel.Nifti1Image(volume, affine)
    here = nibabel.Nifti1Image(labels, affine)
    turned = nibabel.as_closest_canonical(here).as_reoriented([[1, -1], [0, 1], [2, 1]])
    assert turned.shape != here.shape
    reconstructor = Reconstructor(tiny, **USUAL)
    one, other = (reconstructor(image, regions=each).regions() for each in (here, turned))
    assert one == other


def test_labels_on_another_grid_are_refused(tiny, volume, labels):
    reconstructor = Reconstructor(tiny, **USUAL)
    image = nibabel.Nifti1Image(volume, np.diag([2.0, 2, 2, 1]))
    moved = np.diag([2.0, 2, 2, 1])
    moved[0, 3] = 1.0
    with pytest.raises(InputError, match="1 mm away"):
        reconstructor(image, regions=nibabel.Nifti1Image(labels, moved))
    with pytest.raises(InputError, match="a grid of"):
        reconstructor(volume, regions=labels[1:])
    with pytest.raises(InputError, match="whole numbers"):
        reconstructor(volume, regions=labels + 0.5)


def test_a_full_disk_is_told_of(monkeypatch):
    from petrt.errors import DeviceError

    def full(file: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(samples_module, "_reserve", full)
    with pytest.raises(DeviceError, match=r"8 samples need 0\.8 GB"):
        sample_store(8, (100, 500, 500))
