"""What an item is made of: slices, guides, doses, negatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from petrt.data.dataset import Dataset
from petrt.diffusion.guides import NEIGHBOURS, neighbours, spectrum
from petrt.imaging.transform import seen
from petrt.model.spec import TransformSpec
from petrt.train.data import make_batch, nas
from tests.train.prepared import ALL, FULL_UNIT, PLAIN, SCALES, config, ids, write


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("prepared"))


@pytest.mark.parametrize("depth", [1, 2, 4, 6])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nas_of_one_slice_is_that_of_the_runtime(tmp_path, depth, dtype):
    whole = np.random.default_rng(0).random((depth, 3, 4)).astype(dtype)
    np.save(tmp_path / "volume.npy", whole)
    volume = np.load(tmp_path / "volume.npy", mmap_mode="r")
    expected = np.empty((depth, NEIGHBOURS, 3, 4), np.float32)
    neighbours(whole.astype(np.float32), 0, expected)
    for z in range(depth):
        stack = nas(volume, z)
        np.testing.assert_array_equal(stack, expected[z])
        assert type(stack) is np.ndarray  # a copy of five slices, not a view of the file
        assert stack.flags.owndata


def test_shapes_types_and_guides_of_a_batch(data):
    for step in range(6):
        batch = make_batch(data, ids(data), config(**ALL), step)
        size = tuple(batch.x.shape[2:])
        assert size in {(8, 8), (12, 16)}
        shapes = {"x_nas": 5, "y_nas": 5, "negatives": 3}
        for name, tensor in vars(batch).items():
            assert tensor.dtype == torch.float32, name
            assert torch.isfinite(tensor).all(), name
            assert tensor.is_contiguous(), name
            if name not in ("dose", "gamma"):
                assert tensor.shape == (4, shapes.get(name, 1), *size), name
        assert torch.equal(batch.x, batch.x_nas[:, 2:3])
        assert torch.equal(batch.y, batch.y_nas[:, 2:3])
        np.testing.assert_array_equal(batch.x_spectrum, spectrum(batch.x.numpy()))
        np.testing.assert_array_equal(batch.y_spectrum, spectrum(batch.y.numpy()))
        assert batch.gamma.shape == batch.dose.shape == (4,)
        assert ((batch.gamma > 0) & (batch.gamma < 1)).all()
        assert ((batch.dose >= 0.01) & (batch.dose <= 0.06)).all()


def test_what_the_networks_and_the_objective_do_not_use_is_not_made(data):
    batch = make_batch(data, ids(data), config(network={"guides": "nas"}), 0)
    assert batch.x_spectrum is None
    assert batch.y_spectrum is None
    assert batch.negatives is None


@pytest.mark.parametrize("more", [{}, {"rotation_deg": 10.0}, {"blend": 1.0}])
def test_low_and_full_dose_stay_aligned(tmp_path, more):
    """Where both volumes hold the same image in their own units, x is y."""
    data = write(tmp_path, noise=0)
    settings = config(data={"doses": {100: 1, 20: 1}, "intensity": 0.3} | more)
    for step in range(4):
        batch = make_batch(data, ids(data), settings, step)
        # Both are stored in float16.
        torch.testing.assert_close(batch.x_nas, batch.y_nas, rtol=2e-3, atol=1e-3)


def test_slices_are_those_of_the_volume_in_one_scale(data):
    """Nothing varied: x is the stored slice, y the full dose brought to the low dose's scale."""
    batch = make_batch(data, ids(data), config(data=PLAIN | {"doses": {20: 1}}), 1)
    for i in range(4):
        name = f"sub-{round(float(batch.y[i].min()) * SCALES[20] / FULL_UNIT) - 1:04d}"
        pair = data.pair(name, 20)
        (z,) = [z for z in range(len(pair.low)) if np.array_equal(pair.low[z], batch.x[i, 0])]
        np.testing.assert_array_equal(batch.x_nas[i], nas(pair.low, z))
        expected = nas(pair.full, z) * np.float32(pair.gain)
        np.testing.assert_array_equal(batch.y_nas[i], expected)
    assert batch.dose.tolist() == [pytest.approx(0.05)] * 4


def test_slices_are_drawn_by_their_weights(tmp_path):
    data = write(tmp_path, 1, weights=lambda z: np.eye(z)[4])
    batch = make_batch(data, ids(data), config(data=PLAIN), 0)
    expected = np.asarray(data.pair("sub-0000", 100).low[4], np.float32)
    for x in batch.x[:, 0]:
        np.testing.assert_array_equal(x, expected)


def test_doses_are_drawn_by_their_weights_among_those_of_the_subject(data):
    settings = config(batch=64, data={"doses": {100: 1, 20: 3, 4: 50}})
    doses = make_batch(data, ids(data), settings, 0).dose.numpy()
    assert set(doses) == {np.float32(0.01), np.float32(0.05)}
    assert np.mean(doses > 0.02) == pytest.approx(0.75, abs=0.15)


def test_a_mixture_is_one_of_two_doses_in_one_scale(tmp_path):
    data = write(tmp_path, 1)
    settings = config(batch=16, data=PLAIN | {"doses": {100: 1, 20: 1}, "blend": 1.0})
    batch = make_batch(data, ids(data), settings, 0)
    low, high = (data.pair("sub-0000", dose) for dose in (100, 20))
    for x, y, dose in zip(batch.x[:, 0], batch.y[:, 0], batch.dose, strict=True):
        # From y the slice and the scale, from x the weight that mixes both doses to it.
        images = [np.asarray(image, np.float32) * FULL_UNIT for image in low.full]
        scales = [float(np.mean(image) / y.double().mean()) for image in images]
        pairs = zip(scales, images, strict=True)
        z = int(np.argmin([np.abs(y.numpy() * s - image).max() for s, image in pairs]))
        share = (scales[z] - high.scale) / (low.scale - high.scale)
        one, other = (np.asarray(pair.low[z], np.float64) * pair.scale for pair in (low, high))
        mixture = share * one + (1 - share) * other
        np.testing.assert_allclose(x.double() * scales[z], mixture, rtol=1e-3)
        assert dose == pytest.approx(1 / (share**2 / 0.01 + (1 - share) ** 2 / 0.05), rel=1e-3)
    assert len(np.unique(batch.dose)) == 16


def subjects_of(images: torch.Tensor) -> set[int]:
    """Numbers of the subjects whose full-dose slices these are, from their range of values."""
    values = images.amin((-2, -1)) * SCALES[100] / FULL_UNIT
    return set((values.floor().long() - 1).flatten().tolist())


def test_negatives_are_other_subjects(tmp_path):
    data = write(tmp_path, 12)
    settings = config(batch=2, data=PLAIN, loss={"contrastive": "margin"})
    for step in range(10):
        batch = make_batch(data, ids(data), settings, step)
        assert not subjects_of(batch.negatives) & subjects_of(batch.y)
        assert all(len(subjects_of(images)) == 3 for images in batch.negatives)
    # Too few for that: at least never an item's own.
    for step in range(10):
        batch = make_batch(data, ids(data)[:2], settings, step)
        for y, images in zip(batch.y, batch.negatives, strict=True):
            assert not subjects_of(images) & subjects_of(y)


def test_negatives_are_other_people(tmp_path):
    """Two scans of one patient are no negatives of each other."""
    data = write(tmp_path, 4, patients=2)
    settings = config(data=PLAIN, loss={"contrastive": "margin"})
    for step in range(6):
        batch = make_batch(data, ids(data), settings, step)
        for y, images in zip(batch.y, batch.negatives, strict=True):
            (own,) = subjects_of(y)
            assert all((other - own) % 2 for other in subjects_of(images))


def test_negatives_lie_near_the_same_relative_height(tmp_path):
    data = write(tmp_path, 2, shape=(101, 16, 20))
    gain = np.float32(FULL_UNIT / SCALES[100])
    volumes = [np.asarray(data.pair(n, 100).full, np.float32) * gain for n in ids(data)]
    places = [(k, z) for k, volume in enumerate(volumes) for z in range(len(volume))]

    def place(image: torch.Tensor) -> tuple[int, int]:
        (found,) = [(k, z) for k, z in places if np.array_equal(volumes[k][z], image)]
        return found

    rows = []
    for offset in (0.0, 2.0):
        changes = PLAIN | {"negative_offset": offset, "negatives": 4}
        settings = config(batch=32, data=changes, loss={"contrastive": "paper"})
        batch = make_batch(data, ids(data), settings, 0)
        away = []
        for y, images in zip(batch.y[:, 0], batch.negatives, strict=True):
            k, z = place(y)
            for other, height in map(place, images):
                assert other != k
                away.append(height - z * (len(volumes[other]) - 1) / (len(volumes[k]) - 1))
        rows.append(away)
    assert np.abs(rows[0]).max() <= 0.5
    assert 1.4 < np.std(rows[1]) < 2.6


def test_batch_rescaling_gives_each_image_tensor_the_range_0_to_1(data):
    settings = config(**ALL | {"data": {"rescale": "batch", "intensity": 0.5}})
    batch = make_batch(data, ids(data), settings, 0)
    for name in ("x", "y", "x_nas", "y_nas", "negatives"):
        tensor = getattr(batch, name)
        assert (tensor.min(), tensor.max()) == (0, 1), name


def test_the_networks_may_see_a_logarithm(data):
    """Of the same slices, gains and negatives; guides are made of what they see."""
    linear = make_batch(data, ids(data), config(**ALL), 3)
    log = make_batch(data, ids(data), config(**ALL, model={"transform": {"kind": "log1p"}}), 3)
    for name in ("x", "y", "x_nas", "y_nas", "negatives"):
        expected = seen(getattr(linear, name).numpy(), TransformSpec(kind="log1p"))
        np.testing.assert_array_equal(getattr(log, name).numpy(), expected)
    np.testing.assert_array_equal(log.x_spectrum.numpy(), spectrum(log.x.numpy()))
    np.testing.assert_array_equal(log.noise.numpy(), linear.noise.numpy())
