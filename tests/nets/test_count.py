"""Every number of method.md section 2, the paper's Table 2 included, within 0.1 %."""

from __future__ import annotations

import pytest
import torch

from petrt.nets.count import MacCounter, count, guidance_macs_as_trained
from petrt.nets.presets import PRESETS

M, G = 1e6, 1e9
within = pytest.approx


def test_parts_of_the_paper_model() -> None:
    parts = count(PRESETS["paper"])
    assert parts.coarse.parameters / M == within(26.5968, rel=1e-4)
    assert parts.denoiser.parameters / M == within(6.7969, rel=1e-4)
    assert parts.guidance.parameters / M == within(0.7488, rel=1e-4)
    assert parts.coarse.macs / G == within(40.21, rel=1e-3)
    assert parts.denoiser.macs / G == within(10.20, rel=1e-3)
    # 2 * 128 channels * (16 * 16)^2; the method's table rounds it to 0.017
    assert parts.denoiser.attention_macs == 2 * 128 * 256**2
    total = parts.total(steps=10)
    assert total.parameters / M == within(34.1425, rel=1e-4)
    assert total.macs / G == within(143.6, rel=1e-3)


def test_extractors_as_the_authors_run_them() -> None:
    """Their forward pass also runs the Eq. 5 heads and downsamples the target: 1.335 G in all."""
    spec = PRESETS["paper"]
    macs = guidance_macs_as_trained(spec)
    assert macs / G == within(1.335, rel=1e-3)
    features_only = count(spec).guidance.macs
    assert macs > features_only
    assert (count(spec).total(10).macs + macs) / G == within(144.9, rel=1e-3)


def test_convolutional_work_grows_with_the_area() -> None:
    small, large = count(PRESETS["mini"], 32, 32), count(PRESETS["mini"], 64, 96)
    assert large.coarse.macs == 6 * small.coarse.macs
    assert large.coarse.attention_macs == 36 * small.coarse.attention_macs
    assert large.coarse.parameters == small.coarse.parameters


def test_counter_leaves_no_hooks() -> None:
    layer = torch.nn.Linear(3, 5)
    with MacCounter(layer) as call:
        layer(torch.zeros(7, 3))
    layer(torch.zeros(7, 3))
    assert call.macs == 7 * 3 * 5
