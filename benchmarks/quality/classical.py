"""Filters with their strength chosen on the reference: Gaussian, non-local means, BM4D.

BM4D (PyPI ``bm4d``) is licensed for non-commercial use only; petrt does not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from benchmarks.quality.cases import QualityCase, head_box
from benchmarks.quality.figure import picture_slices
from benchmarks.quality.scores import score
from benchmarks.quality.store import Measured
from petrt.arrays import Array
from petrt.errors import UsageError
from petrt.evaluation.baselines import Baseline, best_gaussian, nonlocal_means
from petrt.evaluation.metrics import psnr, standard_mask

LOW, GAUSSIAN, NLM, BM4D = "low-dose", "best Gaussian", "non-local means", "BM4D"
# Multiples of the noise, which BM4D takes for white while that of a filtered image is not: measured on a
# simulated brain at 1/100 dose, 27.1, 27.5, 27.7 and 27.7 dB at 3, 4, 5 and 6.5. Told the noise's spectrum it
# reaches 27.5 at twice the time; on the image's square root, whose noise is more even, 0.15 dB more.
BM4D_STRENGTHS = (2.2, 3.5, 5.0, 6.5)
BM4D_SLICES = 8  # the strength is chosen on so many, for BM4D of a volume takes minutes
BM4D_MARGIN = 2  # voxels around the head


def need_bm4d() -> str:
    """The installed version of bm4d. Raises UsageError without one."""
    try:
        return version("bm4d")
    except PackageNotFoundError:
        raise UsageError(
            "bm4d is not installed", "pip install bm4d; for non-commercial use, so no part of petrt"
        ) from None


def bm4d(image: Array, reference: Array, elsewhere: Array) -> Baseline:
    """BM4D of ``image`` [X, Y, Z] nearest to ``reference``, in the head's box; around it ``elsewhere``.

    The noise level is the best of a few multiples of the root mean square difference from the reference
    in the ``standard`` mask, judged on some slices in the middle; ``parameter`` is that multiple.
    """
    import bm4d as library

    mask, box = standard_mask(reference), head_box(reference, BM4D_MARGIN)
    peak = float(reference.max())
    target = reference[mask].astype(np.float64)
    noise = float(np.sqrt(np.mean((image[mask].astype(np.float64) - target) ** 2)))

    def run(part: Array, strength: float) -> Array:
        filtered = library.bm4d(part / peak, strength * noise / peak) * peak
        return np.maximum(filtered, 0).astype(np.float32)

    middle = (box[2].start + box[2].stop) // 2
    slab = (*box[:2], slice(max(middle - BM4D_SLICES // 2, 0), middle + BM4D_SLICES // 2))
    inside, wanted = mask[slab], reference[slab][mask[slab]].astype(np.float64)

    def quality(strength: float) -> float:
        return psnr(run(image[slab], strength)[inside].astype(np.float64), wanted, peak)

    best = max(BM4D_STRENGTHS, key=quality)
    filtered = elsewhere.copy()
    filtered[box] = run(image[box], best)
    return Baseline(filtered, best, psnr(filtered[mask].astype(np.float64), target, peak))


def measure(case: QualityCase) -> Measured:
    """Low dose, best Gaussian and non-local means of one case."""
    measured = _filtered(
        case,
        {
            GAUSSIAN: lambda: best_gaussian(case.low, case.full),
            NLM: lambda: nonlocal_means(case.low, case.full),
        },
        {LOW: case.low},
    )
    measured.methods = {LOW: score(case.low, case), **measured.methods}
    return measured


def measure_bm4d(case: QualityCase) -> Measured:
    """BM4D of one case."""
    gaussian = best_gaussian(case.low, case.full).image
    return _filtered(case, {BM4D: lambda: bm4d(case.low, case.full, gaussian)}, {})


def _filtered(
    case: QualityCase, filters: dict[str, Callable[[], Baseline]], images: dict[str, Array]
) -> Measured:
    """Scores of each filter; ``notes``: the strength it chose and its seconds of processor time."""
    measured = Measured()
    for name, run in filters.items():
        begun = time.process_time()
        found = run()
        note: dict[str, Any] = {"parameter": float(f"{found.parameter:.4g}")}
        measured.notes[name] = note | {"cpu_seconds": round(time.process_time() - begun, 1)}
        images[name] = found.image
        measured.methods[name] = score(found.image, case)
    measured.arrays = picture_slices(images, case)
    return measured
