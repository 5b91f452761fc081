"""Real numbers of a slice as whole numbers of 16 bit and a slope that a DICOM text holds exactly."""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal

import numpy as np

from petrt.arrays import Array

LARGEST = 32767
# With ten digits a DS text (16 characters at most) is the very number that divides the values.
_DIGITS = Context(prec=10, rounding=ROUND_CEILING)
# A slope below this makes no normal float32 of a small value.
_LEAST_SLOPE = 1e-30
# Values are those of the source, unchanged, if they are this near to multiples of its slope, in steps;
# float32 rounds 32767 steps to within 0.002.
_ON_STEPS = 0.01
# The sum of a slice may change by this part of the sum of its absolute values.
_SAME_SUM = 4e-6
# Other slopes that are tried for it, relative to the best one.
_COARSER = (1.0007, 1.002, 1.005, 1.011, 1.023, 1.05, 1.1, 1.2)


def quantized(values: Array, source_slope: float = 0.0) -> tuple[np.ndarray, str]:
    """Stored int16 values of the shape of ``values``, and RescaleSlope as text: value = slope * stored.

    Each value is within half a slope, and the slope is the smallest that holds the largest value. There are
    two exceptions. Values that the source stores as multiples of ``source_slope`` keep it, and are exact.
    Where rounding would shift the slice's sum by more than 4e-6 of it, since many values are
    rounded alike, a slope up to a fifth larger that shifts it less is taken.
    """
    exact = np.asarray(values, np.float64)
    largest = float(np.abs(exact).max(initial=0.0))
    if largest == 0.0:
        text = _exact_text(source_slope) or "1"
        return np.zeros(exact.shape, np.int16), text
    text = _exact_text(source_slope)
    if text and largest <= LARGEST * source_slope * (1 + 1e-6):
        steps = exact / source_slope
        stored = np.rint(steps)
        if np.abs(steps - stored).max() <= _ON_STEPS and np.abs(stored).max() <= LARGEST:
            return stored.astype(np.int16), text
    best = max(largest / LARGEST, _LEAST_SLOPE)
    bound = _SAME_SUM * float(np.abs(exact).sum())
    found: tuple[float, np.ndarray, str] | None = None
    for factor in (1.0, *_COARSER):
        text = _rounded_up(best * factor)
        slope = float(text)
        stored = np.rint(exact / slope)
        shift = abs(float(stored.sum()) * slope - float(exact.sum()))
        if found is None or shift < found[0]:
            found = shift, stored, text
        if shift <= bound:
            break
    assert found is not None
    return found[1].astype(np.int16), found[2]


def _rounded_up(slope: float) -> str:
    return f"{float(_DIGITS.create_decimal(Decimal(slope))):.10g}"


def _exact_text(slope: float) -> str:
    """The shortest text of exactly this number that fits DS; "" without one."""
    text = repr(float(slope))
    short = text[:-2] if text.endswith(".0") else text
    return short if slope > 0 and len(short) <= 16 else ""
