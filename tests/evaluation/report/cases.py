"""A small case whose numbers are known: a ball with a hot spot, measured with noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from petrt.evaluation.report.case import Case

SHAPE = (40, 48, 36)
AFFINE = np.array([[2.0, 0, 0, -40], [0, 2, 0, -50], [0, 0, 2, -30], [0, 0, 0, 1]])
SPOT = (26, 30, 20)  # voxel of the hot spot; at 12, 10, 10 mm
RECORD: dict[str, Any] = {
    "label": "not for diagnostic use",
    "petrt": "1.2.3",
    "model": {
        "name": "tiny",
        "sha256": "ab" * 32,
        "label": "not for diagnostic use",
        "shipped": "",
    },
    "engine": {"name": "native", "version": "1.2.3", "precision": "fp32", "reason": "the first"},
    "device": "cpu",
    "dose_fraction": 0.05,
    "dose": {"source": "given", "estimate": 0.04, "interval95": [0.03, 0.05]},
    "seed": 3,
    "samples": 8,
    "preset": "fast",
    "sampler": {"kind": "mean", "steps": 1},
    "strength": 1.0,
    "options": {
        "nonfinite": "refuse",
        "force_units": False,
        "skip_background": True,
        "allow_activity_change": False,
        "max_voxels": 1 << 29,
        "series": False,
        "noise": "drawn",
    },
    "std": {"calibrated": True, "factor": 2.0, "level": 0.9, "reason": "fitted"},
    "frames": [{"activity_ratio": 1.0, "suvmax_shift_percent": 0.0}],
    "warnings": ["a <b>warning</b> & more"],
    "seconds": {"total": 1.5},
    "hashes": {"input": "0123456789abcdef" * 4, "outputs": {"image": "cd" * 32}},
}


def truth() -> np.ndarray:
    """100 in a ball of 28 mm, 400 in the hot spot of 5 mm, 0 outside."""
    x, y, z = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    ball = (x - 20) ** 2 + (y - 24) ** 2 + (z - 18) ** 2 <= 14**2
    spot = (x - SPOT[0]) ** 2 + (y - SPOT[1]) ** 2 + (z - SPOT[2]) ** 2 <= 2.5**2
    blurred = gaussian_filter(100.0 * ball + 300.0 * spot, 1.0)
    return blurred.astype(np.float32)


def case(noise: float = 20.0, **changes: Any) -> Case:
    """Truth with ``noise`` as input, truth as output, with a std of 5."""
    clean = truth()
    drawn = np.random.default_rng(5).normal(0, noise, SHAPE).astype(np.float32)
    parts: dict[str, Any] = {
        "input": clean + drawn,
        "output": clean,
        "affine": AFFINE,
        "unit": "Bq/ml",
        "std": np.full(SHAPE, 5, np.float32),
        "record": RECORD,
    }
    return Case(**parts | changes)
