"""Counting one network: small ones by hand, and sizes that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from petrt.errors import InputError
from petrt.flops.network import count_network
from petrt.model.network import Network
from petrt.model.size import Count, ModelCount
from petrt.model.steps import AddBias, Attend, Conv, Dims, Level, Linear, Norm, Step


def network(inputs: dict[str, Dims], y: Dims, *steps: Step, **weights: tuple[int, ...]) -> Network:
    arrays = {name: np.ones(shape, np.float32) for name, shape in weights.items()}
    return Network("net", inputs, {"y": y}, steps, arrays)


def image(channels: int, scale: str = "") -> Dims:
    return "slices", channels, f"height{scale}", f"width{scale}"


def test_convolution_by_hand():
    conv = Conv(out="y", x="x", weight="w", bias="b", stride=2)
    made = network({"x": image(3)}, image(5, "/2"), conv, w=(5, 3, 3, 3), b=(5,))
    work = count_network(made, {"slices": 2, "height": 8, "width": 12})
    # 2 slices of 4 x 6 positions, 5 channels of 3 * 9 products each
    assert work.count == Count(parameters=5 * 27 + 5, macs=2 * 4 * 6 * 5 * 27)
    assert work.weight_bytes == 4 * (5 * 27 + 5)
    assert work.input_bytes == 4 * 2 * 3 * 8 * 12
    assert work.output_bytes == 4 * 2 * 5 * 4 * 6
    assert work.bytes == work.weight_bytes + work.input_bytes + work.output_bytes


def test_transposed_convolution_does_four_ninths_of_nearest_and_convolution():
    spread = Conv(out="y", x="x", weight="w", stride=2, transposed=True)
    nearest = Conv(out="y", x="x", weight="w", upsampled=True)
    sizes = {"slices": 1, "height": 16, "width": 16}
    few, many = (
        count_network(network({"x": image(7, "/2")}, image(5), step, w=shape), sizes).count
        for step, shape in ((spread, (7, 5, 4, 4)), (nearest, (5, 7, 3, 3)))
    )
    assert few.macs == 8 * 8 * 7 * 5 * 16
    assert many.macs == 16 * 16 * 5 * 7 * 9
    assert 9 * few.macs == 4 * many.macs


def test_norms_and_attention_are_counted_apart():
    norm = Norm(groups=2, epsilon=1e-5, weight="n", bias="m", silu=False)
    steps = (Conv(out="qkv", x="x", weight="w", norm=norm), Attend(out="y", qkv="qkv", scale=0.5))
    made = network({"x": image(4)}, image(4), *steps, n=(4,), m=(4,), w=(12, 4, 1, 1))
    count = count_network(made, {"slices": 3, "height": 2, "width": 5}).count
    assert count == Count(48 + 8, 8, 3 * 10 * 12 * 4, 3 * 2 * 4 * 10 * 10)


def test_the_bias_of_a_dose_is_a_linear_layer_of_one_input():
    steps = (
        Level(out="l", x="dose", scale=0.25),
        Linear(out="t", x="l", weight="w", bias="b"),
        AddBias(out="y", x="x", bias="t"),
    )
    inputs: dict[str, Dims] = {"x": image(8), "dose": ("slices",)}
    made = network(inputs, image(8), *steps, w=(8,), b=(8,))
    for slices in (1, 3):
        count = count_network(made, {"slices": slices, "height": 2, "width": 2}).count
        assert count == Count(parameters=16, macs=8 * slices)


def test_dimensions_that_nobody_set_or_that_do_not_divide_are_refused():
    conv = Conv(out="y", x="x", weight="w")
    made = network({"x": image(4, "/4")}, image(4, "/4"), conv, w=(4, 4, 3, 3))
    with pytest.raises(InputError, match="x has the unknown dimension slices"):
        count_network(made, {"height": 8, "width": 8})
    with pytest.raises(InputError, match="x wants height/4, and height is 6; give a multiple of 4"):
        count_network(made, {"slices": 1, "height": 6, "width": 8})
    with pytest.raises(InputError, match="x wants slices, and slices is 0"):
        count_network(made, {"slices": 0, "height": 8, "width": 8})


def test_totals_of_a_model():
    count = ModelCount(
        guidance=Count(10, 1, 100),
        coarse=Count(20, 2, 1000, 5),
        denoiser=Count(30, 3, 7, 2),
        noise_bias=4,
    )
    total = count.total(steps=10, samples=8)
    assert total == Count(64, 6, 1100 + 80 * 7, 5 + 80 * 2)
    assert total.table_parameters == 58
    assert total.flops == 2 * (1660 + 165)
