"""Types of NumPy arrays. What an array holds, its shape and its unit are said where it is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""Images, volumes, noise, weights and all buffers of networks."""

Array64 = NDArray[np.float64]
"""Statistics, affines and tables that are computed once."""
