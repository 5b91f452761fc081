"""Types of NumPy arrays. The functions that use them document content, shape and unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""Images, volumes, noise, weights and all buffers of networks."""

Array64 = NDArray[np.float64]
"""Statistics, affines and tables that are computed once."""
