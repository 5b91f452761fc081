"""The scanner's physics: attenuation, scatter, time of flight, counts."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.data.simulate.anatomy import make_anatomy
from petrt.data.simulate.projector import ANGLES, make_projector
from petrt.data.simulate.varied import physics
from tests.data.simulate.varied.scans import inside, plain, scan


def test_a_line_through_a_cylinder_survives_by_its_chord() -> None:
    drawn = plain()
    projector = make_projector(*drawn.shape[:2], drawn.subsets)
    cylinder = inside(drawn).astype(np.float32)
    survival = physics.survival(0.0096 * cylinder, projector, drawn.pixel_mm)
    survival = survival.reshape(ANGLES, projector.bins, -1)
    assert survival[:, 0] == pytest.approx(1)
    centre = survival[:, projector.bins // 2]
    assert centre == pytest.approx(np.exp(-0.0096 * 160), rel=0.05)


def test_attenuation_map_of_a_head() -> None:
    head = make_anatomy(np.random.default_rng(1), np.random.default_rng(2), (48, 48, 48), 5.0)
    full, dixon = (physics.attenuation_map(head, bone=bone) for bone in (True, False))
    brain = head.cavity > 0.99
    assert full[brain] == pytest.approx(physics.SOFT_PER_MM, rel=0.01)
    assert not full[:3].any()  # air
    bone = physics.bone_fraction(head)
    assert 300 < bone.sum() * 5**3 / 1000 < 1500  # ml: a skull, and the spine in the neck
    assert full.max() == pytest.approx(physics.BONE_PER_MM, rel=0.1)
    assert full[bone > 0.5].mean() > 1.2 * dixon[bone > 0.5].mean()
    assert dixon.max() <= physics.SOFT_PER_MM * 1.001
    # A skull closes: from the brain, every way along an axis meets bone.
    middle = tuple(np.argwhere(brain).mean(axis=0).astype(int))
    for axis in (0, 1):
        line = [slice(None) if a == axis else middle[a] for a in range(3)]
        profile = bone[tuple(line)]
        assert profile[: middle[axis]].max() > 0.5
        assert profile[middle[axis] :].max() > 0.5


def test_time_of_flight_gains_more_the_finer_it_is() -> None:
    gains = [physics.tof_gain(ps) for ps in (0, 5000, 550, 400, 215)]
    assert gains[:2] == [1, 1]
    assert gains[2] < gains[3] < gains[4]
    assert physics.tof_gain(400) == pytest.approx(200 / (1.6 * 60), rel=0.01)


def test_scatter_is_broad_and_of_its_fraction() -> None:
    drawn = plain(randoms_fraction=0.0)
    with_scatter, _ = scan(drawn)
    without, _ = scan(plain(randoms_fraction=0.0, scatter_fraction=0.0))
    scatter = with_scatter.mean - without.mean
    assert scatter.sum() / with_scatter.mean.sum() == pytest.approx(0.35, abs=0.03)
    assert scatter == pytest.approx(with_scatter.background, rel=1e-3, abs=0.01)
    profile = scatter.reshape(ANGLES, -1, scatter.shape[1])[:, :, 4].mean(axis=0)
    trues = without.mean.reshape(ANGLES, -1, scatter.shape[1])[:, :, 4].mean(axis=0)
    outside = trues < 0.01 * trues.max()
    assert profile[outside].max() > 0.3 * profile.max()  # also beside the object
    assert np.abs(np.diff(profile)).max() < 0.1 * profile.max()


def test_counts_grow_with_all_that_makes_them() -> None:
    counts = scan(plain())[0].mean.sum()
    for change in ({"minutes": 20.0}, {"sensitivity_cps_per_kbq": 60.0}):
        assert scan(plain(**change))[0].mean.sum() == pytest.approx(2 * counts, rel=1e-3)
    gain = physics.tof_gain(300)
    assert scan(plain(tof_ps=300))[0].mean.sum() == pytest.approx(gain * counts, rel=1e-3)


def test_errors_of_the_corrections_do_not_change_the_scan() -> None:
    right, _ = scan(plain())
    wrong, _ = scan(plain(scatter_error=0.1), used=0.9)
    assert np.array_equal(right.mean, wrong.mean)
    assert (wrong.survival >= right.survival).all()
    assert wrong.background.sum() > right.background.sum()
