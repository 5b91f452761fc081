"""The logarithm that the networks may see, its inverse and its derivative."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.imaging.transform import seen, unseen, unseen_std
from petrt.model.spec import TransformSpec

LOG = TransformSpec(kind="log1p", gain=10.0)
X = np.linspace(-0.5, 3, 71, dtype=np.float32)


def test_linear_is_the_volume_itself():
    linear = TransformSpec()
    assert seen(X, linear) is X
    assert unseen(X, linear) is X
    assert unseen_std(X, X, linear) is X


@pytest.mark.parametrize("gain", [0.1, 10.0, 1000.0])
def test_it_keeps_zero_one_and_signs_and_has_an_inverse(gain):
    log = TransformSpec(kind="log1p", gain=gain)
    u = seen(X, log)
    assert u.dtype == np.float32
    np.testing.assert_allclose(seen(np.float32([0, 1, -1]), log), [0, 1, -1], rtol=1e-6)
    np.testing.assert_allclose(unseen(u, log), X, rtol=3e-6, atol=1e-6)
    assert (np.diff(u) > 0).all()


def test_with_ten_it_is_log_of_one_plus_suv_where_the_scale_is_suv_ten():
    suv = np.float32([0.5, 2, 10, 30])
    np.testing.assert_allclose(seen(suv / 10, LOG) * np.log(11), np.log1p(suv), rtol=1e-6)


def test_a_small_spread_comes_back_as_the_spread_of_what_was_seen():
    rng = np.random.default_rng(0)
    u = seen(np.float32([0.05, 0.7, 2.0])[:, None], LOG)
    samples = unseen((u + 0.004 * rng.standard_normal((3, 40000))).astype(np.float32), LOG)
    std = unseen_std(np.full((3, 1), 0.004, np.float32), unseen(u, LOG), LOG)
    np.testing.assert_allclose(std[:, 0], samples.std(1), rtol=0.02)
