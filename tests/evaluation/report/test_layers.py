"""Volumes of a page: the values and places of the case, within a budget of bytes."""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace

import numpy as np
import pytest
from nibabel import Nifti1Image
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from petrt.errors import InputError
from petrt.evaluation.report.case import fixed_steps, limits, next_step, window_top
from petrt.evaluation.report.layers import LEVELS, Layer, binned, body_box, layers_of
from petrt.evaluation.report.page import _tops
from tests.evaluation.report.cases import AFFINE, SHAPE, SPOT, case, truth


def decoded(layer: Layer) -> Nifti1Image:
    return Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(layer.data)))


@pytest.mark.parametrize(
    ("value", "top"), [(1, 1), (1.01, 1.5), (6.2, 7), (9.9, 10), (10, 10), (0.031, 0.05), (0, 1)]
)
def test_windows_have_fixed_steps(value, top):
    assert next_step(value) == pytest.approx(top)
    assert window_top(np.full((4, 4, 4), value, np.float32)) == pytest.approx(top)


def test_a_window_is_one_float_wherever_it_is_named():
    for top in (step for power in range(-12, 13) for step in fixed_steps(power)):
        assert next_step(top) == top
        others = _tops(top)
        assert top in others
        assert len({f"{each:.6g}" for each in others}) == len(others)


def test_windows_of_differences_follow_the_images():
    assert limits("image", 10) == (0, 10)
    assert limits("difference", 10) == (-2, 2)
    assert limits("uncertainty", 10) == (0, 1)


def test_values_and_places_are_those_of_the_case():
    given = case(coarse=truth() / 2, reference=truth())
    found = layers_of(given.in_ras())
    assert [layer.name for layer in found.each] == [
        *("input", "output", "coarse", "std", "difference", "reference", "error")
    ]
    assert found.bins == (1, 1, 1)
    expected = {"input": given.input, "output": given.output, "coarse": truth() / 2}
    expected |= {"std": given.std, "difference": given.output - given.input}
    for layer in found.each:
        image = decoded(layer)
        if layer.name in expected:
            # The corner of the crop, from its place in mm.
            at = np.rint((image.affine[:3, 3] - AFFINE[:3, 3]) / 2).astype(int)
            box = tuple(slice(a, a + n) for a, n in zip(at, image.shape, strict=True))
            half_step = (layer.high - layer.low) / LEVELS / 2
            apart = np.abs(image.get_fdata() - expected[layer.name][box]).max()
            assert apart <= 1.01 * half_step
    output = decoded(found.each[1])
    hottest = np.unravel_index(np.argmax(output.get_fdata()), output.shape)
    np.testing.assert_allclose(output.affine @ [*hottest, 1], AFFINE @ [*SPOT, 1], atol=1e-4)


def test_the_crop_keeps_the_body_and_a_margin():
    box = body_box(case(), 1.0)
    inside = truth() > 1.0
    assert inside[box].sum() == inside.sum()
    assert all(part.stop - part.start <= n for part, n in zip(box, SHAPE, strict=True))


def test_a_small_budget_averages_voxels():
    full = layers_of(case().in_ras())
    size = sum(len(layer.data) for layer in full.each)
    small = layers_of(case().in_ras(), size // 3)
    assert sum(len(layer.data) for layer in small.each) <= size // 3
    assert np.prod(small.bins) > 1
    assert small.voxel_mm == tuple(2.0 * n for n in small.bins)
    one, few = decoded(full.each[1]), decoded(small.each[1])
    # The centre of mass stays where it was.
    centres = []
    for image in (one, few):
        weights = image.get_fdata()
        voxels = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1)
        middle = (voxels * weights[..., None]).sum((0, 1, 2)) / weights.sum()
        centres.append(image.affine @ [*middle, 1])
    np.testing.assert_allclose(centres[0], centres[1], atol=0.3)


def test_bins_are_means():
    volume = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    found = binned(volume, (2, 1, 3))
    assert found.shape == (2, 5, 2)
    assert found[1, 4, 0] == pytest.approx(volume[2:4, 4, :3].mean())


@pytest.mark.parametrize("codes", ["LPS", "SAL"])
def test_the_storage_order_leaves_no_trace(codes):
    given = case()
    turn = ornt_transform(io_orientation(AFFINE), axcodes2ornt(codes))
    turned = replace(
        given,
        affine=AFFINE @ inv_ornt_aff(turn, SHAPE),
        **{
            name: apply_orientation(getattr(given, name), turn)
            for name in ("input", "output", "std")
        },
    )
    assert layers_of(turned.in_ras()) == layers_of(given.in_ras())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": np.ones((4, 4, 4), np.float32)}, "std has"),
        ({"reference": np.full(SHAPE, np.nan, np.float32)}, "reference holds NaN"),
        ({"output": np.ones((40, 48), np.float32)}, "one shape"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(InputError, match=message):
        case(**changes)
