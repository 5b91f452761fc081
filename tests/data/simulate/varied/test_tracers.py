"""The tracers: the order of the tissues that readers expect, and lesions of the stated sizes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from petrt.data.simulate import phantom
from petrt.data.simulate.anatomy import Anatomy, make_anatomy
from petrt.data.simulate.varied import tracers

SHAPE, VOXEL_MM = (48, 48, 48), 5.0


@pytest.fixture(scope="module")
def head() -> Anatomy:
    return make_anatomy(np.random.default_rng(1), np.random.default_rng(2), SHAPE, VOXEL_MM)


def made(head: Anatomy, name: str, positive: bool, seed: int = 0) -> phantom.Phantom:
    rngs = (np.random.default_rng(seed), np.random.default_rng(seed + 100))
    return tracers.make_head(rngs, head, name, positive, VOXEL_MM)


def near(head: Anatomy, region: str) -> NDArray[np.bool_]:
    """Within 12 mm of both sides' centres of a region of FDG."""
    x, y, z = phantom.REGIONS[region][0]
    squared = (np.abs(head.mni[0]) - x) ** 2 + (head.mni[1] - y) ** 2 + (head.mni[2] - z) ** 2
    return squared < 12**2


def test_grey_and_white_matter(head: Anatomy) -> None:
    for seed in range(4):
        fdg, negative, positive, fdopa = (
            made(head, name, sign, seed)
            for name, sign in (
                ("fdg", False),
                ("amyloid", False),
                ("amyloid", True),
                ("fdopa", False),
            )
        )

        def mean(
            person: phantom.Phantom, label: int, where: NDArray[np.bool_] | None = None
        ) -> float:
            chosen = person.labels == label
            return float(person.activity[chosen if where is None else chosen & where].mean())

        grey, white = phantom.GREY, phantom.WHITE
        assert mean(fdg, grey) > 2 * mean(fdg, white)
        assert mean(negative, white) > 1.2 * mean(negative, grey)
        frontal, cerebellum = near(head, "frontal"), near(head, "cerebellum")
        ratio = {
            sign: mean(person, grey, frontal) / mean(person, grey, cerebellum)
            for sign, person in (("-", negative), ("+", positive))
        }
        assert ratio["+"] > 1.15 * ratio["-"]
        assert mean(fdopa, grey) == pytest.approx(mean(fdopa, white), rel=0.4)
        assert mean(fdg, grey) > 3 * mean(fdopa, grey)  # SUV


def test_striatum_of_fdopa_and_its_loss(head: Anatomy) -> None:
    sides = {sign: [] for sign in (True, False)}
    for seed in range(6):
        for positive in (True, False):
            excess = tracers._striatum(
                np.random.default_rng(seed), head.mni.reshape(3, -1), positive
            )
            excess = excess.reshape(SHAPE)
            front = excess[near(head, "caudate")].max()
            posterior = (head.mni[1] < -8) & (head.mni[1] > -16) & (np.abs(head.mni[2]) < 6)
            right, left = (excess[posterior & (s * head.mni[0] > 24)].max() for s in (1, -1))
            assert 0.7 < front < 2.2
            sides[positive].append((min(right, left) / front, max(right, left) / front))
    healthy, ill = np.array(sides[False]), np.array(sides[True])
    assert (ill[:, 0] < 0.7 * healthy[:, 0]).all()  # the worse side
    assert (ill[:, 0] < 0.85 * ill[:, 1]).all()  # asymmetric


def test_lesions_keep_their_sizes() -> None:
    sizes, hot, cold = [], 0, 0
    for seed in range(30):
        labels = np.full((64, 64, 64), phantom.GREY, np.uint8)
        activity = np.full(labels.shape, 1000, np.float32)
        tracers.add_lesions(np.random.default_rng(seed), activity, labels, 1000.0, (1.5, 2.0), 2.0)
        lesion = labels == phantom.LESION
        sizes.append(lesion.sum() * 8.0)
        hot += int(activity.max() > 1400)
        cold += int(activity.min() < 450)
        assert activity.max() <= 2001
    one = np.pi / 6 * 30**3
    assert min(sizes) == 0  # nobody has to have one
    assert 0.3 * one < max(sizes) < 5 * one
    assert hot > 10
    assert cold > 8
