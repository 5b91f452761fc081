"""A reverse loop of small slices with a stand-in denoiser."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from petrt import _core
from tests.core import twin

STEPS, H, W, CHANNELS = 4, 6, 7, 3

COEFS = np.array(
    [
        [2.0, 1.7, 0.45, 0.50, 0.0, 0.40],
        [1.5, 1.1, 0.40, 0.55, 0.1, 0.00],
        [1.2, 0.6, 0.35, 0.60, 0.0, 0.20],
        [1.0, 0.1, 0.00, 1.00, 0.0, 0.00],
    ]
)

FILM = np.linspace(-1, 1, STEPS * CHANNELS, dtype=np.float32).reshape(STEPS, CHANNELS)

SEED = 20240617


def network(r: twin.Floats, film: twin.Floats) -> twin.Floats:
    """A stand-in denoiser of exact float32 operations; it depends on every input."""
    return r * film[0] + np.abs(r) * film[1] - film[2]


def enqueue_of(loop: _core.ReverseLoop) -> Callable[[], None]:
    r, eps, film = loop.r, loop.eps, loop.film_row

    def enqueue() -> None:
        eps[...] = network(r, film[0])

    return enqueue


def coarse_of(ids: list[int]) -> twin.Floats:
    rng = [np.random.default_rng(i).random((1, H, W), np.float32) for i in ids]
    return np.stack(rng)
