"""A model whose networks see a logarithm: the same networks, between the function and its inverse."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.imaging.transform import seen, unseen, unseen_std
from petrt.model.bundle import load_bundle
from petrt.model.bundle_writer import write_bundle
from petrt.model.spec import TransformSpec
from tests.models import Reconstructor, noisy_blob

LOG = TransformSpec(kind="log1p", gain=10.0)
OPTIONS = {"samples": 3, "steps": 2, "threads": 1}


@pytest.fixture(scope="module")
def runs(tiny_bundle, tmp_path_factory):
    bundle = load_bundle(tiny_bundle)
    out = tmp_path_factory.mktemp("log") / "model"
    write_bundle(bundle, bundle.model.model_copy(update={"transform": LOG}), out)
    return Reconstructor(tiny_bundle, **OPTIONS), Reconstructor(out, **OPTIONS)


@pytest.fixture(scope="module")
def zyx():
    volume = noisy_blob((16, 24, 5)).transpose(2, 0, 1) / np.float32(900)
    volume[0, 0, :3] = -0.1
    return np.ascontiguousarray(volume)


def test_the_networks_see_the_logarithm_and_the_result_is_linear(runs, zyx):
    linear, log = runs
    inner = linear.on_grid(seen(zyx, LOG))
    mean, std, coarse = log.on_grid(zyx)
    np.testing.assert_array_equal(mean, unseen(inner[0], LOG))
    np.testing.assert_array_equal(coarse, unseen(inner[2], LOG))
    np.testing.assert_array_equal(std, unseen_std(inner[1], mean, LOG))
    assert not np.allclose(mean, linear.on_grid(zyx)[0])


def test_a_volume_goes_the_same_way(runs, zyx):
    log = runs[1]
    volume = 5000 * zyx.transpose(1, 2, 0)
    done = log(volume)
    scale = np.float32(done.stats["frames"][0]["scale"])
    mean, std, _ = log.on_grid((volume / scale).transpose(2, 0, 1))
    np.testing.assert_allclose(done.image, scale * mean.transpose(1, 2, 0), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(done.std, scale * std.transpose(1, 2, 0), rtol=1e-5, atol=1e-3)
