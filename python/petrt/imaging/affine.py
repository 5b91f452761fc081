"""Affines, matrices [4, 4] from voxel indices to millimetres."""

from __future__ import annotations

from typing import Any

import numpy as np

from petrt.arrays import plain
from petrt.errors import InputError


def check_affine(
    affine: Any, name: str = "volume", fix: str = "correct sform or qform"
) -> np.ndarray:
    """``affine`` as float64 [4, 4]. Raises InputError if it is not finite, not affine, or singular; ``fix``
    says what to do."""
    if isinstance(affine, np.ndarray):
        affine = plain(affine, f"{name}'s affine")
    try:
        matrix = np.asarray(affine, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: the affine is no array of numbers", "expected (4, 4)") from None
    if matrix.shape != (4, 4):
        raise InputError(f"{name}: affine of shape {matrix.shape}", "expected (4, 4)")
    if not np.isfinite(matrix).all():
        raise InputError(f"{name}: the affine holds NaN or infinity", fix)
    if not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise InputError(f"{name}: the affine's last row is {matrix[3]}", "expected 0 0 0 1")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    # Columns of length 1, so the test does not depend on the voxel size.
    if lengths.min() == 0 or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-4:
        raise InputError(f"{name}: the affine is singular", fix)
    return matrix
