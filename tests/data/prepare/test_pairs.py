"""Pairs that are none are refused with the reason; those of one scan are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from petrt.data.prepare.pairs import check_pair, disordered, likeness, measure, noise_level
from petrt.data.prepare.scan import LoadedScan
from petrt.errors import InputError
from petrt.model.spec import ScaleRule
from tests.data.prepare.scans import AFFINE, SHAPE, scan

RULE = ScaleRule()
FULL = LoadedScan(scan(0), AFFINE, unit="Bq/mL", patient="p", frame="1.2")
LOW = LoadedScan(scan(0, 20), AFFINE, unit="BQML", patient="p", frame="1.2")


def check(low: LoadedScan, full: LoadedScan = FULL) -> None:
    reference = measure(full, RULE)
    check_pair(measure(low, RULE, reference), reference)


@pytest.mark.parametrize("dose", [2, 4, 20, 100])
def test_doses_of_one_scan_are_pairs(dose):
    check(replace(LOW, data=scan(0, dose)))


def test_what_files_do_not_say_is_no_reason():
    check(replace(LOW, unit=None, patient=None, frame=None))


def test_a_header_may_round():
    check(replace(LOW, affine=AFFINE + np.r_[np.full((3, 4), 1e-4), np.zeros((1, 4))]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": scan(0, 20)[:, :, 1:]}, "another grid than the full dose: 18x22x13 voxels"),
        ({"affine": AFFINE + np.diag([0, 0, 0.1, 0])}, "another grid .* of 4x4x4.1 mm"),
        ({"affine": AFFINE + np.diag([1.0, 1, 1], 1)}, "another grid"),
        ({"patient": "q"}, "another patient than"),
        ({"frame": "1.3"}, "another frame of reference"),
        ({"unit": "kBq/ml"}, "in kbq/ml, the full dose in bq/ml"),
        ({"data": scan(0)}, "the same volume as the full dose"),
        ({"data": scan(0, 20) / 20}, r"total activity over the full dose's is 0\.05"),
        ({"data": scan(0, 20) * 1.3}, r"total activity over the full dose's is 1\.3"),
        ({"data": scan(1, 20) * (scan(0).sum() / scan(1).sum())}, r"unlike the full dose \(corr"),
        ({"data": scan(0, 20)[::-1].copy()}, "unlike the full dose .* mirrored"),
        ({"data": scan(0, 1, noise=0.005)}, "less noisy .* swapped"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_reasons(change, words):
    with pytest.raises(InputError, match=words):
        check(replace(LOW, **change))


def test_swapped_doses_are_noticed():
    with pytest.raises(InputError, match="swapped"):
        check(FULL, full=LOW)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_empty_and_constant_volumes(value):
    with pytest.raises(InputError, match="empty or constant"):
        measure(replace(LOW, data=np.full(SHAPE, value, np.float32)), RULE)


def test_noise_is_relative_and_sees_no_ramps():
    rng = np.random.default_rng(0)
    x = np.linspace(50, 150, 64, dtype=np.float32)[:, None, None]
    flat = np.broadcast_to(x, (64, 64, 8)).astype(np.float32)
    active = np.ones((60, 64, 8), bool)
    assert noise_level(flat, active) == pytest.approx(0, abs=1e-6)
    noisy = flat + 3 * rng.standard_normal(flat.shape, dtype=np.float32)
    assert noise_level(noisy, active) == pytest.approx(0.03, rel=0.03)
    assert noise_level(7 * noisy, active) == pytest.approx(0.03, rel=0.03)
    active[...] = False
    assert noise_level(noisy, active) is None


def test_doses_whose_noise_does_not_rise_are_both_named():
    assert disordered({4: 0.02, 10: 0.03, 100: 0.09}) == {}
    assert disordered({4: 0.02, 100: 0.019}) == {}  # within chance
    assert disordered({4: None, 100: 0.01}) == {}
    reasons = disordered({4: 0.09, 10: 0.1, 100: 0.02})
    assert set(reasons) == {4, 10, 100}
    assert reasons[4] == "1/100 is less noisy (0.02) than 1/4 (0.09); is one mislabelled?"


def test_few_blocks_say_nothing():
    tiny = LoadedScan(scan(0)[7:13, 7:13, 7:13], AFFINE)
    facts = measure(tiny, RULE)
    assert likeness(facts, facts) is None
