"""Arrays that hold more than their values are refused, everywhere the values alone would be used."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch

from petrt.arrays import plain
from petrt.errors import InputError, PetrtError
from petrt.evaluation.activity import change, roi_statistics
from petrt.evaluation.metrics import evaluate
from petrt.io.inputs import load

VOLUME = np.random.default_rng(0).random((16, 16, 3)).astype(np.float32)


class Quantity(np.ndarray):
    """As arrays with a unit are."""


class MetaTensor(torch.Tensor):
    """As tensors with an affine are."""


def masked(hidden: bool = True) -> np.ma.MaskedArray:
    values = np.ma.masked_array(VOLUME.copy(), mask=np.zeros(VOLUME.shape, bool))
    if hidden:
        values[3, 4, 1] = 1.08e6
        values[3, 4, 1] = np.ma.masked
    return values


def test_hidden_values_are_refused_with_their_number():
    with pytest.raises(InputError, match=r"its mask hides 1 of 768 values; .*filled\(0\)"):
        load(masked())


def test_a_mask_that_hides_nothing_is_taken_and_given_back():
    loaded = load(masked(hidden=False))
    np.testing.assert_array_equal(loaded.frames[0], VOLUME)
    assert isinstance(loaded.restore(VOLUME), np.ma.MaskedArray)


def test_an_image_around_a_masked_array_is_refused():
    with pytest.raises(InputError, match="its mask hides 1"):
        load(nibabel.Nifti1Image(masked(), np.eye(4)))


@pytest.mark.parametrize(
    "volume",
    [
        VOLUME.view(Quantity),
        torch.from_numpy(VOLUME).as_subclass(MetaTensor),
        nibabel.Nifti1Image(VOLUME.view(Quantity), np.eye(4)),
    ],
    ids=["unit", "affine", "image"],
)
def test_other_classes_with_a_meaning_of_their_own_are_refused(volume):
    with pytest.raises(InputError, match=r"a (Quantity|MetaTensor) may hold more than its values"):
        load(volume)


def test_classes_that_only_store_are_taken(tmp_path):
    mapped = np.memmap(tmp_path / "v", np.float32, "w+", shape=VOLUME.shape)
    mapped[:] = VOLUME
    for volume in (mapped, torch.nn.Parameter(torch.from_numpy(VOLUME.copy()))):
        np.testing.assert_array_equal(load(volume).frames[0], VOLUME)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensors_of_16_bit(dtype):
    tensor = torch.from_numpy(VOLUME).to(dtype)
    np.testing.assert_array_equal(load(tensor).frames[0], tensor.float().numpy())


@pytest.mark.parametrize(
    "tensor",
    [torch.from_numpy(VOLUME).to_sparse(), torch.from_numpy(VOLUME).to(torch.complex64)],
    ids=["sparse", "complex"],
)
def test_tensors_that_are_no_volume(tensor):
    with pytest.raises(InputError):
        load(tensor)


def test_every_number_about_arrays_refuses_hidden_values():
    labels = np.ones(VOLUME.shape, np.uint8)
    for call in (
        lambda: plain(masked(), "x"),
        lambda: change(masked(), VOLUME),
        lambda: change(VOLUME, masked()),
        lambda: evaluate(masked(), VOLUME, protocols=["standard"]),
        lambda: evaluate(VOLUME, masked(), protocols=["standard"]),
        lambda: evaluate(VOLUME, VOLUME, protocols=["standard"], mask=masked() > 0),
        lambda: roi_statistics(masked(), labels),
        lambda: roi_statistics(VOLUME, np.ma.masked_array(labels, labels == 1)),
        lambda: load(VOLUME, affine=np.ma.masked_array(np.eye(4), np.eye(4) == 1)),
    ):
        with pytest.raises(PetrtError, match="its mask hides"):
            call()
