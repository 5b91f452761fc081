"""The presets say what they claim to."""

from __future__ import annotations

import pytest

from petrt.nets.presets import PRESETS
from petrt.train.config import load_config


def test_paper_is_equation_9_with_the_papers_numbers():
    c = load_config("paper")
    assert (c.steps, c.batch, c.coarse_steps) == (500_000, 4, 0)
    assert (c.loss.nas, c.loss.spectrum, c.loss.contrastive_weight) == (1, 1, 5e-5)
    assert (c.loss.denoiser, c.loss.weighting, c.loss.levels) == ("l1", "eps", "wavegrad")
    assert not c.loss.detach
    assert not c.loss.coarse_weight
    assert (c.loss.contrastive, c.data.negatives) == ("paper", 10)
    assert not c.model.residual_std
    assert (c.optimizer.rate, c.optimizer.schedule, c.optimizer.ema) == (1e-4, "constant", 0)
    assert not c.optimizer.clip
    assert c.model.schedule.timesteps == c.model.sampler.steps == 10


@pytest.mark.parametrize("name", ["paper", "official", "default"])
def test_the_networks_are_the_papers(name):
    assert load_config(name).model.network == PRESETS["paper"]


def test_official_differs_from_the_paper_as_the_authors_code_does():
    paper, official = load_config("paper"), load_config("official")
    assert official.loss.guidance_target == "extractor"
    assert official.loss.contrastive == "official"
    assert official.data.rescale == "batch"
    assert (official.optimizer.weight_decay, official.optimizer.init) == (1e-4, "orthogonal")
    same = {"guidance_target": "pooled", "contrastive": "paper"}
    assert official.loss.model_copy(update=same) == paper.loss


@pytest.mark.parametrize("name", ["default", "demo"])
def test_recipes_that_work_keep_the_coarse_network_from_collapsing(name):
    c = load_config(name)
    assert c.loss.coarse_weight
    assert c.loss.detach
    assert c.coarse_steps
    assert c.loss.guidance_target == "pooled"
    assert c.model.residual_std
    assert c.data.rescale == "volume"
