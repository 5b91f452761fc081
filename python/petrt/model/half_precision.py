"""What 16 bit means for a network: which values are rounded, to what, and what stays float32.

TensorRT 11 runs every operator in the types its graph gives it, so this is decided here. Convolutions,
matrix products, sums and moves of data are 16 bit. Float32 ("wide") are the statistics of norms,
softmax, the logarithm of the dose, and what rounds once instead of several times for it: scale, shift
and SiLU behind a norm, the biases that the dose gives, and the factor in front of a softmax.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from petrt.errors import InputError

Precision = Literal["fp32", "fp16", "bf16"]

# Interfaces that stay float32 in every precision: images, guides, the dose, the noise bias.
WIDE_INTERFACE = frozenset({"r", "eps", "x", "x_cp", "nas", "spectrum", "dose", "film"})

# From here on a number rounds to infinity: the largest number and half of its last digit.
LIMITS = {"fp16": 65520.0, "bf16": (2 - 2**-8) * 2.0**127}


def narrowed(array: NDArray[np.float32], precision: Precision, what: str) -> NDArray[np.uint16]:
    """The bits of ``array`` in 16 bit, ties to even.

    Raises InputError, which names ``what``, for what is not finite or would not be after rounding.
    """
    check_finite(array, what)
    largest = float(np.abs(array).max(initial=0.0))
    if largest >= LIMITS[precision]:
        raise InputError(
            f"{what} holds {largest:.3g}, beyond the range of the precision",
            "build in bf16 or fp32",
        )
    if precision == "fp16":
        return np.ascontiguousarray(array.astype(np.float16)).view(np.uint16)
    return _bfloat16(array)


def check_finite(array: NDArray[np.float32], what: str) -> None:
    """Raise InputError, which names ``what``, unless all numbers are finite."""
    if not np.isfinite(array).all():
        raise InputError(f"{what} is not finite", "export the model again")


def _bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of a float32, after rounding."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
