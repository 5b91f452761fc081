"""Slices that are pure background are left out, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petrt.diffusion.guides import NEIGHBOURS, neighbours
from petrt.inference.background import active_slices, batches
from tests.models import Reconstructor, noisy_blob

MASKS = st.lists(st.booleans(), min_size=1, max_size=24).map(np.array)


@given(MASKS)
def test_a_slice_is_background_where_its_whole_stack_is(holds):
    """By the stack that the networks see, z-2 .. z+2 with the centre for what lies outside."""
    volume = np.where(holds, 1e-30, -1.0).astype(np.float32)[:, None, None] * np.ones(
        (1, 2, 3), "f4"
    )
    stack = np.empty((len(volume), NEIGHBOURS, 2, 3), np.float32)
    neighbours(volume, 0, stack)
    np.testing.assert_array_equal(active_slices(volume), (stack > 0).any(axis=(1, 2, 3)))


@pytest.mark.parametrize(
    ("value", "active"), [(0.0, False), (-3.0, False), (np.nan, True), (1e-38, True)]
)
def test_zero_and_below_is_background_and_nan_is_not(value, active):
    volume = np.zeros((7, 4, 4), np.float32)
    volume[0, 2, 1] = value
    assert active_slices(volume).tolist() == [active] * 3 + [False] * 4


@given(MASKS, st.integers(1, 5), st.integers(1, 9))
def test_batches_hold_what_is_wanted_and_no_background(active, most, every):
    found = batches(active, most, active & (np.arange(len(active)) % every == 0))
    slices = [z for first, count in found for z in range(first, first + count)]
    assert len(slices) == len(set(slices))
    assert all(active[z] for z in slices)
    assert {z for z in range(0, len(active), every) if active[z]} <= set(slices)
    for first, count in found:
        assert 1 <= count <= most
        assert any(z % every == 0 for z in range(first, first + count))


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """Activity in slices 3 .. 5 of 11: 1 .. 7 see it."""
    volume = noisy_blob((16, 21, 11))
    volume[..., :3] = 0
    volume[..., 6:] = -1
    return volume


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 3, "batch": (2, 2)}], ids=str)
def test_other_slices_do_not_change_by_a_bit(tiny_bundle, volume, options):
    usual = {"samples": 2, "steps": 3, "seed": 5}
    calls: list[tuple[int, int]] = []
    run = Reconstructor(tiny_bundle, **usual, **options)
    found = run(volume, progress=lambda *done: calls.append(done))
    every = Reconstructor(tiny_bundle, **usual, threads=1, skip_background=False)(volume)
    for part in ("image", "std", "coarse"):
        a, b = getattr(found, part), getattr(every, part)
        np.testing.assert_array_equal(a[..., 1:8], b[..., 1:8])
        assert not a[..., [0, 8, 9, 10]].any()
        assert b[..., 8:].any()  # which the networks would have filled
    assert found.stats["frames"][0]["background_slices"] == 4
    assert every.stats["frames"][0]["background_slices"] == 0
    assert calls[-1] == (11, 11)


def test_every_so_many_slices_and_background(tiny_bundle, volume):
    run = Reconstructor(tiny_bundle, samples=2, steps=2, threads=1)
    zhw = volume.transpose(2, 0, 1) / np.float32(900)
    calls: list[tuple[int, int]] = []
    whole, part = run.on_grid(zhw), run.on_grid(zhw, every=3, progress=lambda *n: calls.append(n))
    for a, b in zip(part, whole, strict=True):
        np.testing.assert_array_equal(a[::3], b[::3])
        assert not a[1:3].any()
    assert calls[-1] == (4, 4)


def test_a_volume_of_background_alone_needs_no_network(tiny_bundle):
    run = Reconstructor(tiny_bundle, samples=2, steps=2, threads=1)
    calls: list[tuple[int, int]] = []
    results = run.on_grid(np.zeros((4, 16, 16), np.float32), progress=lambda *n: calls.append(n))
    assert calls == [(4, 4)]
    assert not any(result.any() for result in results)


def test_a_model_without_guides_keeps_the_same_rule(tmp_path, volume):
    from petrt.export.bundle import export_model
    from tests.export.conftest import NETWORKS, model_spec, scrambled

    kind = next(k for k, n in NETWORKS.items() if n.guides == "none" and n.denoiser)
    export_model(scrambled(NETWORKS[kind]), model_spec(NETWORKS[kind]), tmp_path / "bundle")
    result = Reconstructor(tmp_path / "bundle", steps=2, threads=1)(volume)
    assert result.stats["frames"][0]["background_slices"] == 4
    assert not result.image[..., 8:].any()
