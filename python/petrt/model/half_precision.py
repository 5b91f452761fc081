"""16-bit precision of a network: which values are rounded, and which stay float32 ("wide").

TensorRT 11 runs every operator in the types of its graph, so the graph decides. Convolutions, matrix
products, sums and copies are 16 bit. Norm statistics, softmax and the logarithm of the dose stay float32.
So do the operations next to them, which saves roundings: scale, shift and SiLU after a norm, the biases
computed from the dose, and the factor before a softmax.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from petrt.errors import InputError

Precision = Literal["fp32", "fp16", "bf16"]

# Inputs and outputs that stay float32 in every precision: images, guides, the dose, the noise bias.
WIDE_INTERFACE = frozenset({"r", "eps", "x", "x_cp", "nas", "spectrum", "dose", "film"})

# From here on a number rounds to infinity: the largest finite number plus half a unit in its last place.
LIMITS = {"fp16": 65520.0, "bf16": (2 - 2**-8) * 2.0**127}


def narrowed(array: NDArray[np.float32], precision: Precision, what: str) -> NDArray[np.uint16]:
    """The bits of ``array`` rounded to 16 bit, ties to even; same shape.

    Raises InputError, which names ``what``, if a number is not finite or overflows.
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
    """The upper half of each float32's bits, rounded to nearest even."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
