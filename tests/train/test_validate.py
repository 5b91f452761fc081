"""Validation: fixed slices and noise, scores of the named protocols."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from petrt.data.dataset import open_dataset
from petrt.errors import InputError
from petrt.evaluation.metrics import PROTOCOLS, evaluate
from petrt.nets import Model
from petrt.train import validate
from petrt.train.checkpoints import model_spec
from petrt.train.data import ACTIVE
from petrt.train.validate import cases, mean_scores, predict, scores
from tests.train.runs import config


def model(**network: object) -> Model:
    torch.manual_seed(0)
    return Model(config(network=network).model.network)


def test_cases_are_fixed_slices_that_hold_activity(data):
    dataset = open_dataset(data)
    (case,) = cases(dataset, config(validation={"every": 3, "subjects": 4}))
    assert case.pair.name == "sub-0002"
    assert case.pair.dose == 100
    assert set(case.ids) <= set(range(0, 16, 3))
    assert case.full.shape == (len(case.ids), 32, 32)
    assert (case.full.max((1, 2)) > ACTIVE).all()
    assert case.peak == pytest.approx(float(case.pair.full.max() * case.pair.gain))
    assert cases(dataset, config(validation={"subjects": 0})) == []


def test_the_dose_that_training_draws_most_is_validated(data):
    dataset = open_dataset(data)
    (case,) = cases(dataset, config(data={"doses": {100: 1.0, 20: 3.0}}))
    assert case.pair.dose == 20
    with pytest.raises(InputError, match="sub-0002, a validation subject, has none of the doses"):
        cases(dataset, config(data={"doses": {50: 1.0}}))


def test_scores_are_those_of_the_protocols(data):
    dataset = open_dataset(data)
    (case,) = cases(dataset, config(validation={"every": 1}))
    noisy = case.full + np.random.default_rng(0).normal(0, 0.1, case.full.shape).astype(np.float32)
    got = scores(case, {"noisy": noisy, "full": case.full}, tuple(PROTOCOLS))
    expected = evaluate(noisy.T, case.full.T)
    for name in PROTOCOLS:
        assert got[name]["noisy"] == pytest.approx(expected[name]["psnr"], rel=1e-6)
        assert got[name]["full"] == np.inf
    rows = [{"standard": {"ams": 20.0}}, {"standard": {"ams": 21.0}}]
    assert mean_scores(rows) == {"standard": {"ams": 20.5}}


def test_an_image_does_not_depend_on_the_slices_beside_it(data, monkeypatch):
    pair = open_dataset(data).pair("sub-0002", 100)
    net, spec = model(), model_spec(config(), 0.3)
    together = predict(net, spec, pair.low, range(10), dose=0.01, samples=2)
    monkeypatch.setattr(validate, "TOGETHER", 3)
    apart = predict(net, spec, pair.low, range(10), dose=0.01, samples=2)
    assert list(together) == ["low", "coarse", "sample", "ams"]
    for name, images in together.items():
        assert images.shape == (10, 32, 32)
        np.testing.assert_allclose(apart[name], images, atol=1e-5)
    np.testing.assert_array_equal(together["low"], pair.low[:10])
    assert not np.array_equal(together["sample"], together["ams"])
    one = predict(net, spec, pair.low, range(10), dose=0.01, samples=1)
    np.testing.assert_allclose(one["ams"], together["sample"], atol=1e-5)


def test_the_dose_reaches_the_networks(data):
    pair = open_dataset(data).pair("sub-0002", 100)
    net = model(dose=True)
    for name, parameter in net.guidance.named_parameters():
        if ".dose." in name:
            torch.nn.init.ones_(parameter)
    spec = model_spec(config(network={"dose": True}), 0.3)
    low, high = (
        predict(net, spec, pair.low, [8], dose=dose, samples=1)["coarse"] for dose in (0.01, 0.25)
    )
    assert np.abs(low - high).max() > 1e-4
