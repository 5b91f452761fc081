"""The one way in for options: numbers of any library, and a UsageError for all that is none."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from petrt import values
from petrt.errors import InputError, UsageError

JUNK = {
    "none": None,
    "text": "8",
    "bytes": b"8",
    "empty": "",
    "truth": True,
    "NumPy's truth": np.True_,
    "nan": float("nan"),
    "infinity": -float("inf"),
    "signalling": Decimal("sNaN"),
    "complex": 1j,
    "list": [8],
    "nothing": (),
    "dict": {},
    "object": object(),
    "array": np.array([8]),
    "array of text": np.array("8"),
    "lines": "8\n9",
}


@pytest.mark.parametrize(
    "eight",
    [8, 8.0, np.int8(8), np.float32(8), np.array(8), torch.tensor(8), Fraction(8), Decimal(8)],
    ids=repr,
)
def test_a_number_of_any_library_is_a_number(eight):
    assert values.whole("samples", eight, 1, 10) == 8
    assert type(values.whole("samples", eight, 1, 10)) is int
    assert type(values.real("memory", eight, 1)) is float
    assert values.positive("scale", eight) == 8
    assert values.pair("batch", [eight, eight], 1, 10) == (8, 8)
    assert values.sizes("voxel_mm", [eight] * 3) == (8.0, 8.0, 8.0)


@pytest.mark.parametrize("kind", JUNK)
def test_what_is_no_number_is_refused_in_one_line(kind):
    junk = JUNK[kind]
    for call in (
        lambda: values.whole("--name", junk, 1, values.MOST),
        lambda: values.real("--name", junk, 0, 1e9),
        lambda: values.positive("--name", junk),
        lambda: values.pair("--name", (1, junk), 1, values.MOST),
        lambda: values.pair("--name", junk, 1, values.MOST),
        lambda: values.sizes("--name", junk),
        lambda: values.sizes("--name", (2, 2, junk)),
        lambda: values.word("--name", junk, ("fp32", "bf16")),
    ):
        with pytest.raises(UsageError, match=r"\A--name is [^\n]{1,150}\Z"):
            call()


@pytest.mark.parametrize(
    "value", [8.5, 10**5000, -(10**5000), 1e300], ids=["half", "huge", "low", "1e300"]
)
def test_numbers_beyond_sense_are_refused_in_one_line(value):
    for call in (
        lambda: values.whole("--name", value, 1, values.MOST),
        lambda: values.real("--name", value, 0, 8),
        lambda: values.pair("--name", (1, value), 1, values.MOST),
    ):
        with pytest.raises(UsageError, match=r"\A--name [^\n]{1,150}\Z"):
            call()


@pytest.mark.parametrize("value", [None, "yes", 1, np.array([True]), 0.0])
def test_a_switch_is_true_or_false(value):
    assert values.switch("x", True) is values.switch("x", np.True_) is True
    with pytest.raises(UsageError, match="give True or False"):
        values.switch("x", value)


def test_bounds_are_named():
    with pytest.raises(UsageError, match=r"^seed must lie in 0 \.\. 2\^64 - 1, got -1$"):
        values.whole("seed", -1, 0, values.MOST_SEED)
    with pytest.raises(UsageError, match=r"^threads must be at least 1, got 0$"):
        values.whole("threads", 0, 1, values.MOST_WORKERS)
    with pytest.raises(UsageError, match=r"^threads must be at most 4096, got 5000$"):
        values.whole("threads", 5000, 1, values.MOST_WORKERS)
    with pytest.raises(
        UsageError, match=r"^--memory is inf; give a number of GiB, at least 0\.01$"
    ):
        values.real("--memory", float("inf"), 0.01, unit="GiB")
    with pytest.raises(InputError, match="three sizes above 0"):
        values.sizes("voxel_mm", (2, 2), error=InputError)


@given(st.one_of(st.integers(), st.floats(), st.text(), st.fractions(), st.decimals(), st.binary()))
def test_nothing_but_a_usage_error_comes_out(value):
    for call in (
        lambda: values.whole("x", value, -5, 5),
        lambda: values.real("x", value, -5, 5),
        lambda: values.positive("x", value),
        lambda: values.sizes("x", value),
        lambda: values.sizes("x", [value] * 3),
        lambda: values.word("x", value),
        lambda: values.switch("x", value),
    ):
        with suppress(UsageError):
            call()
