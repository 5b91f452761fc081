"""The volume that is timed: nobody's, and like a low-dose brain in smoothness and range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def make_volume(height: int, width: int, slices: int) -> NDArray[np.float32]:
    """Blurred blobs with noise inside an ellipse, [height, width, slices]; no slice is empty."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    shape = (height, width, slices)
    x, y = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inside = (x**2 + y**2 < 0.7)[..., None]
    blobs = gaussian_filter(rng.standard_normal(shape), (height / 24, width / 24, 2.0))
    noisy = rng.gamma(4.0, 0.25 * (1 + blobs / blobs.std()).clip(0.1))
    return (5000 * inside * gaussian_filter(noisy, 1.0)).astype(np.float32)
