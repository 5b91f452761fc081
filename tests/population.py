"""Small ellipsoids with noise at several doses: a population that is quick to draw, and its domain."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy import ndimage

from petrt.arrays import Array
from petrt.evaluation.noise_domain import Case, fit_noise_domain
from petrt.evaluation.noise_level import Signature, signature
from petrt.model.spec import NoiseDomain

SHAPE, MM = (56, 56, 56), (2.0, 2.0, 2.0)
DOSES = (0.01, 0.05, 0.25)
NOISE = 0.03  # standard deviation at full dose, relative to the activity


def ellipsoid(subject: int) -> Array:
    """The activity [Z, H, W] of a ``subject``: an ellipsoid with a warm rim."""
    rng = np.random.default_rng([1, subject])
    grid = [(np.arange(n) - (n - 1) / 2) for n in SHAPE]
    z, y, x = (g / r for g, r in zip(grid, rng.uniform(20, 23, 3), strict=True))
    radius = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    activity = np.where(radius < 0.9, 1.0, np.where(radius < 1.1, 0.3, 0.0))
    return np.asarray(ndimage.gaussian_filter(activity, 1.5), np.float32) * 2e4


def scan(subject: int, dose: float, extra: float = 1.0) -> Array:
    """A volume [Z, H, W] in Bq/ml; its noise is ``extra`` times that of the ``dose``."""
    rng = np.random.default_rng([2, subject, round(1 / dose)])
    activity = ellipsoid(subject)
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.6)
    spread = NOISE * np.sqrt(activity * 2e4 / dose) + 40
    return np.asarray(activity + extra * spread * noise, np.float32)


def cases(subjects: range, doses: tuple[float, ...] = DOSES) -> Iterator[Case]:
    for subject in subjects:
        for dose in doses:
            yield Case(f"sub-{subject}", scan(subject, dose), dose)


@lru_cache(maxsize=1)
def domain() -> NoiseDomain:
    """What ten subjects show."""
    return fit_noise_domain(cases(range(10)), MM)


@lru_cache
def seen(subject: int, dose: float) -> Signature:
    """The signature of a scan."""
    found = signature(scan(subject, dose), MM)
    assert found is not None
    return found
