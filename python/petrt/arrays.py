"""Types of NumPy arrays, and arrays as they come in. Functions document content, shape and unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.errors import InputError

Array = NDArray[np.float32]
"""Images, volumes, noise, weights and all buffers of networks."""

Array64 = NDArray[np.float64]
"""Statistics, affines and tables that are computed once."""

# Kinds of NumPy array whose values are all they hold.
_PLAIN = (np.ndarray, np.memmap)


def plain(values: Any, name: str) -> np.ndarray:
    """``values`` as a plain NumPy array, without a copy where it is one.

    Raises InputError for an array that holds more than its values, which would be lost without a word:
    a masked array that hides some of them, a unit. Masked arrays that hide nothing are taken.
    """
    if isinstance(values, np.ma.MaskedArray):
        hidden = int(np.ma.count_masked(values))
        if hidden:
            raise InputError(
                f"{name}: its mask hides {hidden} of {values.size} values",
                "say what they are, as in values.filled(0)",
            )
        return np.asarray(values.data)
    if isinstance(values, np.ndarray) and type(values) not in _PLAIN:
        raise InputError(
            f"{name}: a {type(values).__name__} may hold more than its values",
            "pass the values alone, as in numpy.asarray(values)",
        )
    return np.asarray(values)


def grid_text(shape: Sequence[int], voxel_mm: Sequence[float] | None = None) -> str:
    """A grid in words: "128 x 128 x 89, 2 mm"."""
    size = " x ".join(map(str, shape))
    return size if voxel_mm is None else f"{size}, {mm_text(voxel_mm)}"


def mm_text(voxel_mm: Sequence[float]) -> str:
    """A voxel's size in words: "2 mm", or "2 x 2 x 3 mm" where it is no cube."""
    sides = [f"{float(mm):.3g}" for mm in voxel_mm]
    return f"{sides[0] if len({*sides}) == 1 else ' x '.join(sides)} mm"
