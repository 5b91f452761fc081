"""Shortcuts through the steps: the deep part apart gives the same network, and regions are judged rightly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import spheres
from benchmarks.quality.shortcuts import ReusingEngine, Walk, Way, coherent, split, ways
from benchmarks.quality.shortcuts_table import conclusion, table
from petrt._core import slice_weights
from petrt.diffusion.noise_schedule import gammas, step_table
from petrt.inference.forward import ReverseProcess
from petrt.model.bundle import load_bundle


@pytest.fixture(scope="module")
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def planes() -> np.ndarray:
    return np.random.default_rng(0).random((2, 32, 24), np.float32)


def test_the_deep_part_every_step_is_the_denoiser(bundle, planes):
    steps = bundle.model.sampler.steps
    process = ReverseProcess.of(bundle, step_table(bundle.model.schedule, bundle.model.sampler))
    whole = Walk.of(bundle, Way(steps)).samples(planes, 2, 0, 0.01)
    apart = Walk(process, ReusingEngine(bundle, steps, 1), 1.0, steps).samples(planes, 2, 0, 0.01)
    np.testing.assert_allclose(apart, whole, atol=1e-6)
    reused = Walk.of(bundle, Way(steps, 5)).samples(planes, 2, 0, 0.01)
    assert 1e-4 < np.abs(reused - whole).max() < np.abs(whole).max()


def test_the_shallow_part_holds_full_resolution_alone(bundle):
    whole, shallow = split(bundle.network("denoiser"))
    assert len(shallow.steps) < len(whole.steps)
    assert {dims[2] for dims in shallow.dims.values() if len(dims) == 4} == {"height"}
    assert 0 < ReusingEngine(bundle, 10, 2).share < 1
    costs = [Walk.of(bundle, way).evaluations for way in ways(bundle.model.sampler)]
    assert costs[0] == 10 > costs[1] > costs[2] > 1


def test_a_late_start_begins_with_as_much_noise_as_its_step_expects(bundle):
    gamma = gammas(bundle.model.schedule, 10)
    for last in (1, 3):
        walk = Walk.of(bundle, Way(last))
        assert walk.process.table.steps == last
        assert walk.start == pytest.approx(np.sqrt(1 - gamma[last]))
        assert walk.process.table.levels[0] == pytest.approx(np.sqrt(gamma[last]))


def test_samples_come_in_antithetic_pairs(bundle, planes):
    # A linear sampler's pair would mirror at the coarse image; of one step the noise enters once.
    drawn = Walk.of(bundle, Way(None)).samples(planes, 3, 0, 0.01)
    assert drawn.shape == (3, *planes.shape)
    again = Walk.of(bundle, Way(None)).samples(planes, 2, 0, 0.01)
    np.testing.assert_array_equal(drawn[:2], again)


def test_balls_have_their_volume():
    for size in spheres.MILLILITRES:
        offsets = spheres.ball(size, (2.0, 2.0, 2.5))
        assert len(offsets) * 0.01 == pytest.approx(size, rel=0.15)
        np.testing.assert_array_equal(offsets.mean(axis=0), 0)


def test_samples_whose_spread_is_the_error_cover_regions_and_others_do_not():
    rng = np.random.default_rng(0)
    full = np.full((40, 40, 30), 100.0, np.float32)
    bias = rng.normal(0, 2, (9, 1, 1, 1))  # of a whole volume: the last one plays the truth
    exact = (full + bias).astype(np.float32)
    found = spheres.worth(spheres.means(exact[:8], exact[8], (2, 2, 2)))
    off = abs(bias[:8].mean() - bias[8, 0, 0, 0])
    assert found["20ml.ratio"] == pytest.approx(off / bias[:8].std(ddof=1), rel=1e-3)
    # Independent noise averages out over a sphere, an error of the whole does not.
    noisy = (full + rng.normal(0, 2, (8, *full.shape))).astype(np.float32)
    narrow = spheres.worth(spheres.means(noisy, full + np.float32(1), (2, 2, 2)))
    assert narrow["1ml.ratio"] > 3
    assert narrow["20ml.ratio"] > narrow["1ml.ratio"]
    assert narrow["20ml.covered"] == 0


def made(**psnr: float) -> dict:
    names = {"whole": "10 steps, 8 samples", "good": "good", "quick": "quick", "still": "still"}
    covered = {"whole": 92.0, "good": 88.0, "quick": 70.0, "still": 90.0}
    ratio = {"whole": 2.5, "good": 4.0, "quick": 4.0, "still": 9000.0}
    numbers = {
        names[key]: {
            "standard.psnr": [value, 0.1],
            "evaluations": [1.0, None],
            "coverage": [60.0, 1.0],
            **{f"{size}ml.one_factor": [covered[key], 1.0] for size in spheres.MILLILITRES},
            **{f"{size}ml.ratio": [ratio[key], 1.0] for size in spheres.MILLILITRES},
        }
        for key, value in psnr.items()
    }
    seconds = {"10 steps, 8 samples": 2.0, "good": 0.5, "quick": 0.1, "still": 0.1}
    return {
        "subjects": ["a"],
        "mean_sd": {"1/100": numbers},
        "settings": {"model": "m"},
        "seconds": {"of": seconds},
    }


def test_the_conclusion_is_the_quickest_way_that_keeps_both():
    text = conclusion(made(whole=30.0, good=29.95, quick=30.0))
    assert "The quickest is good, in 25 % of the time. Not so: quick." in text
    text = conclusion(made(whole=30.0, still=30.0))  # hardly any spread: no factor makes it one
    assert "The quickest is 10 steps, 8 samples, in 100 % of the time. Not so: still." in text
    text = conclusion(made(whole=30.0, good=29.8))
    assert "The quickest is 10 steps, 8 samples, in 100 % of the time. Not so: good." in text
    assert any(
        line.startswith("| good | 1.0 | 0.500 |") for line in table(made(whole=30.0, good=30.0))
    )


def test_noise_is_that_of_the_model_along_z():
    """Neighbours share what the weights say, slices far apart nothing, and each is N(0, 1)."""
    weights = slice_weights(1.33)
    noise = np.stack([coherent(weights, (200, 200), 0, 10 + z, 0) for z in range(12)])
    assert noise.std() == pytest.approx(1, abs=0.01)
    line = np.concatenate([weights[:0:-1], weights])
    shared = np.correlate(line, line, "full")[len(line) - 1 :]
    for apart in (1, 2, 9):
        found = np.mean(noise[apart:] * noise[:-apart])
        assert found == pytest.approx(shared[apart] if apart < len(shared) else 0, abs=0.01)


def test_a_model_with_coherent_noise(bundle, planes):
    model = bundle.model.model_copy(update={"noise_sigma_z": 1.33})
    walk = Walk.of(bundle, Way(None))
    walk = replace(walk, process=replace(walk.process, model=model))
    assert walk.samples(planes, 2, 0, 0.01).shape == (2, *planes.shape)
