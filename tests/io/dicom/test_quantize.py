"""Values of a slice as 16 bit and a slope: half a step, the same total, a slope that its text holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from petrt.io.dicom.quantize import quantized

FLOATS = st.floats(-(2.0**66), 2.0**66, width=32).filter(lambda x: x == 0 or abs(x) > 1e-20)


def assert_good(values: np.ndarray, stored: np.ndarray, text: str) -> float:
    slope = float(text)
    assert stored.dtype == np.int16
    assert len(text) <= 16
    assert slope > 0
    error = np.abs(stored.astype(float) * slope - values.astype(float))
    assert error.max() <= 0.5 * slope * (1 + 1e-9)
    return slope


@settings(max_examples=200, deadline=None)
@given(arrays.arrays(np.float32, (3, 4), elements=FLOATS))
def test_any_values_are_within_half_a_step(values):
    stored, text = quantized(values)
    slope = assert_good(values, stored, text)
    largest = float(np.abs(values).max())
    assert slope <= 1.21 * max(largest / 32767, 1e-30) or largest == 0


@pytest.mark.parametrize("slope", [1.0, 0.302644, 1.7141, 2e-5])
@pytest.mark.parametrize("highest", [32766, 20000, 300, 32767])
def test_values_that_the_source_stores_come_back_exactly(slope, highest):
    rng = np.random.default_rng(0)
    whole = rng.integers(-5, highest, (64, 64), dtype=np.int16, endpoint=True)
    values = (whole * np.float64(slope)).astype(np.float32)
    stored, text = quantized(values, slope)
    np.testing.assert_array_equal(stored, whole)
    assert float(text) == slope


@pytest.mark.parametrize("background", [0.31, 1.0, 52.4, 5000.3, 12345.678])
def test_a_uniform_background_keeps_its_total(background):
    """Rounding all voxels alike would shift the total."""
    values = np.full((128, 128), background, np.float32)
    values[40:44, 40:44] = 5 * background
    stored, text = quantized(values, 0.77)
    slope = assert_good(values, stored, text)
    total = float(values.sum(dtype=float))
    assert stored.sum(dtype=float) * slope == pytest.approx(total, rel=1e-5)


def test_unsigned_values_beyond_16_bit_keep_their_total():
    values = np.random.default_rng(0).integers(0, 65535, (128, 128)).astype(np.float32)
    stored, text = quantized(values, 1.0)
    slope = assert_good(values, stored, text)
    total = float(values.sum(dtype=float))
    assert stored.sum(dtype=float) * slope == pytest.approx(total, rel=1e-5)


def test_an_empty_slice_has_a_slope_too():
    stored, text = quantized(np.zeros((4, 4), np.float32), 0.25)
    assert (stored.any(), text) == (False, "0.25")
    assert quantized(np.zeros((4, 4), np.float32))[1] == "1"
