"""Spheres found in an image, or read from a file."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.data.simulate.iq_phantom import activity_of, scan
from petrt.errors import InputError
from petrt.evaluation.nema import measure, phantom
from petrt.evaluation.nema_find import find_spheres, read_centres

SHIFT = np.array([13.0, -7.0, 140.0])


def placed(nema, image, affine):
    """The image with its first axis running to the left, somewhere else in the scanner."""
    turned = affine.copy()
    turned[:3, 0] *= -1
    turned[:3, 3] = affine[:3, 3] + affine[:3, 0] * (image.shape[0] - 1) + SHIFT
    return image[::-1], turned


@pytest.mark.parametrize(
    ("turn", "clockwise", "cold"), [(37.0, True, ()), (200.0, False, (28.0, 37.0))]
)
def test_spheres_are_found_at_a_hundredth_of_the_dose(turn, clockwise, cold):
    nema = phantom("head", turn_deg=turn, clockwise=clockwise, cold=cold)
    made = scan(nema, (100,), seed=3, voxel_mm=3.0)
    image, affine = placed(nema, made.low[100], made.affine)
    found = find_spheres(image, affine, "head", cold=cold)
    assert found.correlation is not None
    assert found.correlation > 0.8
    for sphere, expected in zip(found.nema.spheres, nema.spheres, strict=True):
        centre = found.pose[:3, 3] + np.array(sphere.centre_mm)
        assert np.linalg.norm(centre - SHIFT - np.array(expected.centre_mm)) < 2.5


def test_a_phantom_without_spheres_is_not_taken_for_one():
    nema = phantom("head")
    activity, affine = activity_of(nema, 3.0)
    even = np.minimum(activity, np.median(activity[activity > 0]))
    noisy = even + np.random.default_rng(0).normal(0, 300, even.shape)
    with pytest.raises(InputError, match="no NEMA phantom is found"):
        find_spheres(noisy, affine, "head")


def test_an_empty_image_holds_none():
    with pytest.raises(InputError, match="the image is empty"):
        find_spheres(np.zeros((20, 20, 20)), np.diag([4.0, 4, 4, 1]), "head")


def test_centres_of_a_file_give_the_same_figures(tmp_path):
    nema = phantom("head", turn_deg=70)
    activity, affine = activity_of(nema, 3.0)
    image, moved = placed(nema, activity, affine)
    rows = [[s.diameter_mm, *(SHIFT + np.array(s.centre_mm))] for s in nema.spheres]
    path = tmp_path / "centres.csv"
    text = "\n".join(",".join(f"{value:.6f}" for value in row) for row in rows)
    path.write_text(f"diameter_mm,x,y,z\n{text}\n")
    found = read_centres(path, phantom("head"))
    assert found.correlation is None
    got = measure(image, moved, found.nema, found.pose)
    expected = measure(activity, affine, nema)
    for ours, theirs in zip(got.spheres, expected.spheres, strict=True):
        assert ours.contrast_percent == pytest.approx(theirs.contrast_percent, abs=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diameter_mm,x,y\n10,0,0\n", "no table of numbers"),
        ("diameter_mm,x,y,z\n10,a,0,0\n", "no table of numbers"),
        ("diameter_mm,x,y,z\n10,0,0,0\n", "not the six spheres"),
        ("", "not the six spheres"),
    ],
)
def test_what_is_no_file_of_centres(tmp_path, text, message):
    path = tmp_path / "centres.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_centres(path, phantom("body"))
