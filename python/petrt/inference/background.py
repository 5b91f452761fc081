"""Slices that are pure background, and which batches the others fall into."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petrt.diffusion.guides import OFFSETS


def active_slices(volume: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which slices of ``volume`` [Z, H, W], on the network grid, are not pure background: bool [Z].

    A slice is background when neither it nor any of its neighbours z-2 .. z+2, which the networks see
    with it, holds a voxel above 0. The rule is the same for models without these guides. NaN is no
    background: it must be found out.
    """
    own = np.logical_not(np.all(volume <= 0, axis=(1, 2)))
    active = own.copy()
    for offset in OFFSETS:
        if offset > 0:
            active[offset:] |= own[:-offset]
        elif offset < 0:
            active[:offset] |= own[-offset:]
    return active


def batches(
    active: NDArray[np.bool_], most: int, wanted: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """(first slice, slices) of batches of at most ``most`` neighbouring ``active`` slices, without those
    that hold no ``wanted`` one."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    found = []
    for begin, end in edges.reshape(-1, 2).tolist():
        for first in range(begin, end, most):
            count = min(most, end - first)
            if wanted[first : first + count].any():
                found.append((first, count))
    return found
