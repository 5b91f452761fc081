"""Noise as the core draws it, and the numbers that choose it."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from petrt import _core
from tests.core import twin

WORD = st.integers(0, 2**32 - 1)

SEED = st.integers(0, 2**64 - 1)


def draw(
    seed: int, slice_id: int, sample: int, step: int, n: int, threads: int = 1, sigma_z: float = 0.0
) -> twin.Floats:
    out = np.full(n, np.nan, np.float32)
    _core.normals(seed, slice_id, sample, step, out, threads, sigma_z)
    return out
