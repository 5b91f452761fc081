"""What a preset means, and that it is nothing but the steps and samples it stands for."""

from __future__ import annotations

import numpy as np
import pytest

import petrt
from petrt.diffusion.presets import PRESETS, SAMPLES, samples_of, settle
from petrt.errors import UsageError
from petrt.export.bundle import export_model
from petrt.model.bundle import load_bundle
from petrt.model.spec import SamplerSpec
from tests.export.conftest import NETWORKS, model_spec, scrambled
from tests.models import Reconstructor, noisy_blob

OWN = SamplerSpec(kind="ddpm", steps=10)
FAST = PRESETS["fast"]


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return noisy_blob((16, 21, 3))


def test_paper_is_the_models_own_sampler():
    for own in (OWN, SamplerSpec(kind="dpmpp2m", steps=4), SamplerSpec(kind="mean", steps=1)):
        paper = settle(own, preset="paper")
        assert (paper.sampler, paper.samples, paper.preset) == (own, 8, "paper")


def test_fast_is_the_mean_of_one_step_estimates_in_pairs_and_the_default():
    fast = settle(OWN)
    assert fast == settle(OWN, preset="fast")
    assert fast.sampler == SamplerSpec(kind="mean", steps=1)
    assert (fast.samples, fast.preset) == (8, "fast")
    assert fast.samples % 2 == 0  # else one sample has no antithetic partner


def test_coarse_draws_nothing():
    coarse = settle(OWN, preset="coarse")
    assert (coarse.sampler, coarse.samples, coarse.preset) == (None, 0, "coarse")
    with pytest.raises(UsageError, match="draws no samples"):
        settle(OWN, preset="coarse", samples=2)
    # A model without a denoiser gives nothing else.
    assert settle(OWN, denoiser=False) == settle(OWN, preset="coarse", denoiser=False) == coarse
    for given in ({"preset": "fast"}, {"samples": 8}, {"steps": 1}, {"sampler": "ddim"}):
        with pytest.raises(UsageError, match="has no denoiser"):
            settle(OWN, denoiser=False, **given)
    with pytest.raises(UsageError, match="preset is"):
        settle(OWN, denoiser=False, preset="turbo")


@pytest.mark.parametrize(
    "own", [SamplerSpec(kind="mean", steps=1), SamplerSpec(kind="ddim", steps=1)]
)
def test_fast_never_costs_more_than_the_models_own_sampler(own):
    assert settle(own, preset="fast").sampler == own


@pytest.mark.parametrize("preset", [None, "paper", "fast"])
def test_a_number_of_samples_that_is_given_wins(preset):
    assert settle(OWN, preset=preset, samples=5).samples == 5
    assert settle(OWN, preset=preset, samples=1).samples == 1
    assert settle(OWN, preset=preset).samples == samples_of(preset, None) == SAMPLES
    assert samples_of(preset, 5) == 5
    assert samples_of("coarse", None) == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"steps": 3}, SamplerSpec(kind="ddpm", steps=3)),
        ({"sampler": "ddim"}, SamplerSpec(kind="ddim", steps=10)),
        ({"sampler": "mean"}, SamplerSpec(kind="mean", steps=1)),
        ({"sampler": "dpmpp2m", "steps": 4}, SamplerSpec(kind="dpmpp2m", steps=4)),
    ],
)
def test_sampler_and_steps_stand_instead_of_a_preset(given, expected):
    process = settle(OWN, **given)
    assert (process.sampler, process.samples, process.preset) == (expected, SAMPLES, None)
    for preset in PRESETS:
        with pytest.raises(UsageError, match="fixes sampler and steps"):
            settle(OWN, preset=preset, **given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"preset": "turbo"}, "preset is 'turbo'"),
        ({"sampler": "euler"}, "sampler is 'euler'"),
        ({"steps": 0}, "steps must lie in"),
        ({"steps": 1001}, "steps must lie in"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"preset": "fast", "samples": -1}, "samples must be at least 1"),
    ],
)
def test_nonsense_is_refused(given, why):
    with pytest.raises(UsageError, match=why):
        settle(OWN, **given)


def test_fast_is_refused_where_the_denoiser_makes_the_whole_image():
    assert settle(OWN, coarse=False).sampler == settle(OWN, preset="paper", coarse=False).sampler
    assert settle(OWN, steps=2, coarse=False).sampler.steps == 2
    for preset in ("fast", "coarse"):
        with pytest.raises(UsageError, match="needs a model with a coarse network"):
            settle(OWN, preset=preset, coarse=False)


def test_fast_is_its_explicit_steps_bit_for_bit(tiny_bundle, volume):
    bundle = load_bundle(tiny_bundle)
    fast = Reconstructor(bundle, preset="fast", threads=1)(volume)
    sampler = {"sampler": FAST.sampler.kind, "steps": FAST.sampler.steps, "samples": FAST.samples}
    explicit = Reconstructor(bundle, threads=1, **sampler)(volume)
    paper = Reconstructor(bundle, preset="paper", threads=1)(volume)
    for part in ("image", "std", "coarse"):
        np.testing.assert_array_equal(getattr(fast, part), getattr(explicit, part))
    assert not np.array_equal(fast.image, paper.image)
    presets = [each.stats["preset"] for each in (fast, explicit, paper)]
    assert presets == ["fast", None, "paper"]
    assert fast.stats["sampler"] == explicit.stats["sampler"] != paper.stats["sampler"]


def test_reconstruct_takes_a_preset(tiny_bundle, volume):
    options = {"model": tiny_bundle, "voxel_mm": (2.0, 2.0, 2.0), "threads": 1}
    options["allow_activity_change"] = True
    fast = petrt.reconstruct(volume, preset="fast", **options)
    expected = Reconstructor(tiny_bundle, preset="fast", threads=1)
    np.testing.assert_array_equal(fast, expected(volume, voxel_mm=(2.0, 2.0, 2.0)).image)
    with pytest.raises(UsageError, match="fixes sampler and steps"):
        petrt.reconstruct(volume, preset="fast", steps=3, **options)


def test_a_model_without_a_coarse_network_is_not_run_fast(tmp_path):
    network = NETWORKS["denoiser"]
    export_model(scrambled(network), model_spec(network), tmp_path / "bundle")
    with pytest.raises(UsageError, match="needs a model with a coarse network"):
        Reconstructor(tmp_path / "bundle", preset="fast")
    assert Reconstructor(tmp_path / "bundle").preset == "paper"
