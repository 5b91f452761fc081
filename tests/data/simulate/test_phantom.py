"""The phantom: repeatable, no folds, the right tissue in the right place, lesions as promised."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.data.simulate import anatomy, phantom

SHAPE, VOXEL = (48, 48, 48), 5.0


def make(seed: int) -> phantom.Phantom:
    return phantom.make_phantom(np.random.SeedSequence(seed), SHAPE, VOXEL)


@pytest.fixture(scope="module")
def head() -> phantom.Phantom:
    return make(0)


def test_same_seed_same_bits_other_seed_other_head(head: phantom.Phantom) -> None:
    again, other = make(0), make(1)
    assert again.activity.tobytes() == head.activity.tobytes()
    assert again.labels.tobytes() == head.labels.tobytes()
    brain = head.labels > 0
    assert (other.labels != head.labels)[brain].mean() > 0.1
    assert not np.allclose(other.activity[brain], head.activity[brain], rtol=0.05)


def test_tissue_activity(head: phantom.Phantom) -> None:
    mean = {n: head.activity[head.labels == v].mean() for n, v in phantom.LABELS.items()}
    assert 12e3 < mean["grey"] < 35e3
    assert 2 < mean["grey"] / mean["white"] < 5
    assert mean["csf"] < 0.7 * mean["white"]
    assert 0.05 < mean["other"] / mean["grey"] < 0.3
    assert head.activity[head.labels == 0].mean() < 0.02 * mean["grey"]
    assert not head.activity[:4, :4].any()  # air


def test_head_is_upright_and_centred(head: phantom.Phantom) -> None:
    brain = np.isin(head.labels, (phantom.GREY, phantom.WHITE, phantom.LESION))
    centre = (np.argwhere(brain).mean(axis=0) - (np.array(SHAPE) - 1) / 2) * VOXEL
    assert np.abs(centre).max() < 25
    other = head.labels == phantom.OTHER
    assert other[:, :, :8].sum() > 10 * other[:, :, -8:].sum()  # the neck is below
    low = other[:, :, :16]
    assert low[:, 24:].sum() > 500  # the face is at the front, +y
    volume_ml = brain.sum() * VOXEL**3 / 1000
    assert 1000 < volume_ml < 2200


@pytest.mark.parametrize("seed", range(6))
def test_warp_does_not_fold(seed: int) -> None:
    mni = anatomy.warp_to_mni(np.random.default_rng(seed), SHAPE, VOXEL)
    slopes = np.stack([np.stack(np.gradient(m, VOXEL)) for m in mni])
    determinant = np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1)))
    assert determinant.min() > 0.1
    assert determinant.max() < 4
    # Pose and deformation stay in the range between people: centimetres, not more.
    axes = [VOXEL * (np.arange(n) - (n - 1) / 2) for n in SHAPE]
    rest = np.stack(np.meshgrid(*axes, indexing="ij")) + anatomy.BRAIN_CENTRE_MM.reshape(3, 1, 1, 1)
    moved = np.linalg.norm(mni - rest, axis=0)[12:36, 12:36, 12:36]
    assert 2 < moved.mean() < 25


@pytest.mark.parametrize("sigma", [1.0, 3.0, 7.5])
def test_smooth_noise_has_unit_variance_and_its_correlation_length(sigma: float) -> None:
    rng = np.random.default_rng(3)
    noise = np.stack([anatomy.smooth_noise(rng, (64, 60, 56), sigma) for _ in range(8)])
    assert noise.shape == (8, 64, 60, 56)
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert (noise**2).mean() == pytest.approx(1, abs=0.1)
    near, far = round(sigma), int(4 * sigma) + 1
    for axis in (1, 2, 3):
        moved = np.moveaxis(noise, axis, 0)
        assert 0.4 < (moved[near:] * moved[:-near]).mean() < 0.9
        assert np.abs((moved[far:] * moved[:-far]).mean()) < 0.1


def test_labels_name_the_most_abundant_tissue() -> None:
    brain = np.array([True, True, True, True, False, False, True])
    grey, white, csf = np.array(
        [[0.6, 0.3, 0.2, 0.1, 0.1], [0.2, 0.6, 0.2, 0.1, 0.1], [0.2, 0.1, 0.6, 0.1, 0.2]],
        np.float32,
    )
    soft = np.array([0, 0, 0, 0.6, 0.9, 0.1, 0], np.float32)
    labels = phantom.label_tissues(brain, grey, white, csf, soft)
    assert labels.tolist() == [1, 2, 3, 4, 4, 0, 0]


def test_lesions_are_hot_or_cold_of_the_stated_size_and_inside_the_brain() -> None:
    hot = cold = 0
    for seed in range(12):
        labels = np.zeros((64, 64, 64), np.uint8)
        labels[16:48, 16:48, 16:48] = phantom.GREY
        activity = np.where(labels, 1000, 0).astype(np.float32)
        before = labels.copy()
        phantom.add_lesions(np.random.default_rng(seed), activity, labels, 1000.0, 2.0)
        lesion = labels == phantom.LESION
        assert lesion.any()
        assert (before[lesion] == phantom.GREY).all()
        assert not activity[before == 0].any()
        volume = lesion.sum() * 8.0
        assert volume < 6 * np.pi / 6 * (20 * 1.25) ** 3
        assert (activity[lesion] <= 2001).all()
        # Labelled voxels are at least half lesion (where two overlap, they may even out).
        assert (np.abs(activity[lesion] - 1000) < 100).mean() < 0.02
        hot += int(activity.max() > 1250)
        cold += int(activity[lesion].min() < 300)
    assert hot >= 6
    assert cold >= 4
