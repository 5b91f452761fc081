"""The native kernels against the definitions in float64 NumPy, for every instruction set there is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt import _core
from tests.core.cuda_twin.build import compiler
from tests.core.native_wide import build

Array = np.ndarray


@dataclasses.dataclass
class Native:
    """A module with the kernels, and which of them."""

    module: Any
    kernels: str

    def program(self) -> Any:
        return self.module.NativeProgram(self.kernels)

    def conv(self, x: Array, y: Array, packed: Array, kernel: int, **options: Any) -> None:
        """One convolution, done."""
        program = self.program()
        usual = {"stride": 1, "winograd": False}
        program.conv(x, y, packed, kernel=kernel, **usual | options)
        program.run()

    def pack(self, weights: Array, winograd: bool) -> Array:
        outputs, inputs, kernel, _ = weights.shape
        size = self.module.native_packed(inputs, outputs, kernel, winograd, self.kernels)
        packed = np.full(size, np.nan, np.float32)
        self.module.native_pack(weights, winograd, packed, self.kernels)
        return packed


@pytest.fixture(scope="module", params=["generic", "avx2", "avx512", "16 lanes"])
def native(request: pytest.FixtureRequest) -> Native:
    if request.param == "16 lanes":
        if compiler() is None:
            pytest.skip("needs a C++ compiler")
        return Native(build.load(build.build(request.config.cache.mkdir("native_wide"))), "avx512")
    try:
        _core.NativeProgram(request.param)
    except ValueError:
        pytest.skip(f"this CPU has no {request.param}")
    return Native(_core, request.param)


def random(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def padded_pitch(rng: np.random.Generator, *shape: int) -> Array:
    """A part of the channels of a wider tensor, with NaN beside it."""
    *outer, channels = shape
    whole = np.full((*outer, channels + 5), np.nan, np.float32)
    part = whole[..., 3 : 3 + channels]
    part[...] = random(rng, *shape)
    return part


def convolution(x: Array, weights: Array, stride: int) -> Array:
    """[N, H, W, C] by [O, C, k, k], zeros outside, float64."""
    k = weights.shape[2]
    wide = np.pad(x.astype(np.float64), ((0, 0), (k // 2,) * 2, (k // 2,) * 2, (0, 0)))
    height, width = ((size - 1) // stride + 1 for size in x.shape[1:3])
    out = 0.0
    for dy in range(k):
        for dx in range(k):
            part = wide[:, dy::stride, dx::stride][:, :height, :width]
            out = out + part @ weights[:, :, dy, dx].T.astype(np.float64)
    return out


@st.composite
def conv_cases(draw: st.DrawFn) -> dict[str, Any]:
    kernel = draw(st.sampled_from([3, 3, 1]))
    winograd = kernel == 3 and draw(st.booleans())
    normed = (winograd or kernel == 1) and draw(st.booleans())
    repeat = draw(st.sampled_from([1, 2, 3]))
    return {
        "images": repeat * draw(st.integers(1, 2)),
        "repeat": repeat,
        "height": draw(st.integers(1, 11)),
        "width": draw(st.integers(1, 19)),
        "inputs": draw(st.integers(1, 40)),
        "outputs": draw(st.integers(1, 40)),
        "kernel": kernel,
        "winograd": winograd,
        "normed": normed,
        "stride": 1 if winograd or normed else draw(st.sampled_from([1, 2])),
        "upsample": winograd and not normed and draw(st.booleans()),
        "silu": draw(st.booleans()),
        "addends": draw(st.integers(0, 2)),
        "row": draw(st.sampled_from(["none", "one", "each"])),
        "seed": draw(st.integers(0, 999)),
    }


@settings(max_examples=60, deadline=None)
@given(case=conv_cases())
def test_convolutions_are_their_definition(native: Native, case: dict[str, Any]):
    rng = np.random.default_rng(case["seed"])
    n, inputs, outputs = case["images"], case["inputs"], case["outputs"]
    x = padded_pitch(rng, n, case["height"], case["width"], inputs)
    weights = random(rng, outputs, inputs, case["kernel"], case["kernel"])
    weights /= np.sqrt(weights[0].size).astype(np.float32)
    bias = random(rng, outputs)
    seen = x.astype(np.float64)
    norm = None
    if case["normed"]:
        norm = (random(rng, n, inputs), random(rng, n, inputs))
        seen = seen * norm[0][:, None, None] + norm[1][:, None, None]
        seen = seen / (1 + np.exp(-seen)) if case["silu"] else seen
    if case["upsample"]:
        seen = seen.repeat(2, axis=1).repeat(2, axis=2)
    expected = convolution(seen, weights, case["stride"]) + bias
    rows = {"none": None, "one": random(rng, 1, outputs), "each": random(rng, n, outputs)}
    row = rows[case["row"]]
    if row is not None:
        expected = expected + row[:, None, None]
    shape = expected.shape[1:]
    addends = [random(rng, n // case["repeat"], *shape), random(rng, n, *shape)][: case["addends"]]
    for each in addends:
        expected = expected + each.repeat(n // len(each), axis=0)
    y = padded_pitch(rng, *expected.shape)
    options = {name: case[name] for name in ("stride", "winograd", "upsample")}
    options |= {"bias": bias, "norm": norm, "row": row, "addends": addends}
    options["silu"] = case["silu"] and norm is not None
    native.conv(x, y, native.pack(weights, case["winograd"]), case["kernel"], **options)
    # Measured up to 4e-6 of the largest value, by Winograd's tiles.
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 * max(np.abs(expected).max(), 1.0))
    beside = y.base
    assert np.isnan(beside[..., :3]).all()
    assert np.isnan(beside[..., -2:]).all()


def test_planar_images_are_read_as_they_lie(native: Native):
    rng = np.random.default_rng(0)
    planar = random(rng, 2, 5, 6, 7)
    x, weights = planar.transpose(0, 2, 3, 1), random(rng, 11, 5, 3, 3)
    y = np.empty((2, 6, 7, 11), np.float32)
    native.conv(x, y, native.pack(weights, False), 3)
    np.testing.assert_allclose(y, convolution(x, weights, 1), rtol=0, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    groups=st.integers(1, 6),
    each=st.integers(1, 9),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    offset=st.sampled_from([0.0, 1000.0]),
    seed=st.integers(0, 99),
)
def test_statistics_are_those_of_a_group_norm(native, groups, each, height, width, offset, seed):
    rng = np.random.default_rng(seed)
    channels = groups * each
    x = padded_pitch(rng, 2, height, width, channels)
    x += np.float32(offset)
    weight, bias = random(rng, channels), random(rng, channels)
    scale, shift = (np.empty((2, channels), np.float32) for _ in range(2))
    program = native.program()
    program.statistics(x, weight, bias, groups, 1e-5, scale, shift)
    program.run()
    grouped = x.astype(np.float64).reshape(2, height * width, groups, each)
    mean = grouped.mean(axis=(1, 3), keepdims=True)
    variance = grouped.var(axis=(1, 3), keepdims=True)
    expected = (grouped - mean) / np.sqrt(variance + 1e-5)
    expected = expected.reshape(2, height, width, channels) * weight + bias
    found = x * scale[:, None, None].astype(np.float64) + shift[:, None, None]
    # shift is rounded once, in units of the offset over the spread.
    allowed = 1e-5 * max(1.0, np.abs(scale).max() * (1 + offset) / 50)
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed * 5)


@pytest.mark.parametrize(("height", "width", "channels"), [(3, 5, 6), (8, 8, 32), (7, 9, 20)])
def test_attention_is_its_definition(native: Native, height, width, channels):
    rng = np.random.default_rng(1)
    qkv = padded_pitch(rng, 2, height, width, 3 * channels)
    y = padded_pitch(rng, 2, height, width, channels)
    program = native.program()
    program.attention(qkv, y, 0.7)
    program.run()
    q, k, v = np.split(qkv.astype(np.float64).reshape(2, height * width, -1), 3, axis=2)
    scores = 0.7 * q @ k.transpose(0, 2, 1)
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    expected = weights / weights.sum(axis=2, keepdims=True) @ v
    np.testing.assert_allclose(y.reshape(2, -1, channels), expected, rtol=0, atol=1e-5)


def test_silu_of_every_size(native: Native):
    """Through a 1 x 1 convolution by 1: from where the exponential overflows to where it vanishes."""
    x = np.concatenate([np.linspace(-200, 200, 4001), np.logspace(-30, 2, 95)]).astype(np.float32)
    x = x.reshape(1, 1, -1, 1)
    y = np.empty_like(x)
    one, ones = np.ones((1, 1, 1, 1), np.float32), np.ones((1, 1), np.float32)
    native.conv(x, y, native.pack(one, False), 1, norm=(ones, 0 * ones), silu=True)
    wide = x.astype(np.float64)
    expected = wide / (1 + np.exp(-wide))
    # Below -87, where the value is under 1e-35, the exponential stands still.
    np.testing.assert_allclose(y, expected, rtol=3e-7, atol=1e-35)


def test_nan_stays_visible(native: Native):
    x = np.ones((1, 8, 8, 8), np.float32)
    x[0, 3, 3, 2] = np.nan
    y = np.zeros((1, 8, 8, 4), np.float32)
    weights = np.ones((4, 8, 3, 3), np.float32)
    scale, shift = np.ones((1, 8), np.float32), np.zeros((1, 8), np.float32)
    options = {"winograd": True, "norm": (scale, shift), "silu": True}
    native.conv(x, y, native.pack(weights, True), 3, **options)
    assert np.isnan(y[0, 2:5, 2:5]).all()


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_nothing_depends_on_the_number_of_threads(native: Native, threads: int):
    rng = np.random.default_rng(6)
    x, weights = random(rng, 2, 6, 10, 24), random(rng, 20, 24, 3, 3)
    packed, point = native.pack(weights, True), native.pack(random(rng, 24, 24, 1, 1), False)
    vectors = random(rng, 2, 24)

    def run(count: int) -> list[Array]:
        scale, shift = (np.empty((2, 24), np.float32) for _ in range(2))
        y, z, mixed = (np.full((2, 6, 10, c), np.nan, np.float32) for c in (20, 24, 8))
        program = native.program()
        for _ in range(5):  # more steps than threads meet by chance in order
            program.statistics(x, vectors[0], vectors[1], 8, 1e-5, scale, shift)
            program.conv(
                x, y, packed, kernel=3, stride=1, winograd=True, norm=(scale, shift), silu=True
            )
            program.conv(x, z, point, kernel=1, stride=1, winograd=False)
            program.attention(z, mixed, 0.3)
        program.run(count)
        return [scale, shift, y, z, mixed]

    for found, expected in zip(run(threads), run(1), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_dose_rows_copies_and_sums(native: Native):
    rng = np.random.default_rng(2)
    dose = np.array([0.01, 0.25], np.float32)
    weight, bias, row = random(rng, 6), random(rng, 6), np.empty((2, 6), np.float32)
    x, addend = random(rng, 2, 3, 4, 6), random(rng, 1, 3, 4, 6)
    copied, summed = np.empty_like(x), np.empty_like(x)
    program = native.program()
    program.dose_row(dose, 0.5, weight, bias, row)
    program.copy(x, copied)
    program.sum(copied, addend, summed)
    program.run()
    expected = 0.5 * np.log(dose)[:, None] * weight + bias
    np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(copied, x)
    np.testing.assert_array_equal(summed, x + addend)


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    x, y = random(rng, 1, 4, 4, 8), random(rng, 1, 4, 4, 8)
    packed = Native(_core, "generic").pack(random(rng, 8, 8, 3, 3), True)
    same: dict[str, Any] = {"kernel": 3, "stride": 1, "winograd": True}

    def conv(x=x, y=y, weights=packed, **options: Any) -> None:
        _core.NativeProgram("generic").conv(x, y, weights, **{**same, **options})

    conv()
    for change, says in (
        ({"x": x.astype(np.float64)}, "float32"),
        ({"x": x[0]}, "images, height, width, channels"),
        ({"y": y[:, :3]}, "y: expected the size"),
        ({"weights": packed[:-1]}, "weights: expected"),
        ({"kernel": 5}, "kernel 1 or 3"),
        ({"stride": 2}, "stride 1"),
        ({"bias": np.zeros(7, np.float32)}, "bias: expected 8"),
        ({"norm": (np.zeros((1, 7), np.float32),) * 2}, "scale: expected 8"),
        ({"row": np.zeros((3, 8), np.float32)}, "row: expected"),
        ({"addends": [y[:, :, :3]]}, "addend: expected"),
        ({"addends": [y, y, y]}, "at most 2"),
        ({"x": x.transpose(0, 1, 3, 2)}, "side by side|expected"),
    ):
        with pytest.raises(ValueError, match=says):
            conv(**change)
    frozen = y.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        conv(y=frozen)
    with pytest.raises(ValueError, match="threads: expected 1"):
        _core.NativeProgram().run(0)
    with pytest.raises(ValueError, match="none named abacus"):
        _core.NativeProgram("abacus")
    scale = np.empty((1, 8), np.float32)
    with pytest.raises(ValueError, match="divisor"):
        _core.NativeProgram().statistics(x, scale[0], scale[0], 3, 1e-5, scale, scale)
