"""What is drawn: within its ranges, all of it varies, the same for the same seed."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache

import numpy as np
import pytest

from petrt.data.simulate.projector import ANGLES
from petrt.data.simulate.varied import Drawn, draw, parameters
from petrt.data.simulate.varied.tracers import TRACERS

MANY = 400


@cache
def people() -> list[Drawn]:
    return [draw(np.random.default_rng(seed)) for seed in range(MANY)]


@pytest.mark.parametrize("name", sorted(set(parameters.RANGES) - {"misalignment_mm", "psf_factor"}))
def test_ranges_are_kept_and_filled(name: str) -> None:
    low, high = parameters.RANGES[name]
    values = np.array([getattr(person, name) for person in people()])
    values = values[values != 0]  # no post filter
    assert low <= values.min() < low + 0.05 * (high - low)
    assert high - 0.1 * (high - low) < values.max() <= high


def test_protocols_belong_to_the_tracer() -> None:
    for person in people():
        tracer = TRACERS[person.tracer]
        assert tracer.mbq_per_kg[0] <= person.mbq_per_kg <= tracer.mbq_per_kg[1]
        assert tracer.minutes[0] <= person.minutes <= tracer.minutes[1]
        assert np.abs(person.misalignment_mm).max() <= parameters.RANGES["misalignment_mm"][1]
        low, high = parameters.RANGES["psf_factor"]
        assert person.psf_fwhm_mm == 0 or low <= person.psf_fwhm_mm / person.fwhm_mm <= high + 1e-4
        assert 50 / person.pixel_mm < person.shape[0] == person.shape[1]
        assert ANGLES % person.subsets == 0
        assert abs(person.shape[2] * person.slice_mm - person.axial_fov_mm) <= person.slice_mm


def test_every_kind_is_drawn_as_often_as_it_should_be() -> None:
    for name, tracer in TRACERS.items():
        chosen = [person for person in people() if person.tracer == name]
        assert len(chosen) / MANY == pytest.approx(tracer.share, abs=0.08)
        positive = np.mean([person.positive for person in chosen])
        assert positive == pytest.approx(tracer.positive_share, abs=0.2)
    assert {p.pixel_mm for p in people()} == set(parameters.PIXELS_MM)
    assert {p.slice_mm for p in people()} == set(parameters.SLICES_MM)
    assert {p.tof_ps for p in people()} == set(parameters.TOF_PS)
    assert np.mean([p.psf_fwhm_mm > 0 for p in people()]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([p.bone for p in people()]) == pytest.approx(0.9, abs=0.05)


def test_one_seed_one_person() -> None:
    first, again, other = (asdict(draw(np.random.default_rng(seed))) for seed in (3, 3, 4))
    assert first == again
    assert all(first[name] != other[name] for name in parameters.RANGES if name in first)
