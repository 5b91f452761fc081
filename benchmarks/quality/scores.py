"""All that is measured of one image of a case, as a flat table of numbers.

``standard.psnr``, ``paper.ssim`` …: against the full-dose image, under each protocol
(petrt.evaluation.metrics).
``truth.psnr`` …: protocol ``standard`` against the noise-free activity. ``activity_ratio``: of the full
dose's. ``grey_bias``, ``white_bias``: of the means of these regions; ``lesion_peak_bias``: of the largest
mean over a sphere of 1 ml inside a hot lesion, mean over lesions; all in per cent of the full dose's, and
under ``truth.`` of the noise-free activity's. ``sd``: mean standard deviation of the samples over the
active voxels, in units of the full dose's maximum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.cases import QualityCase
from petrt.arrays import Array
from petrt.data.simulate.phantom import GREY, LESION, WHITE
from petrt.evaluation.activity import change, roi_statistics
from petrt.evaluation.metrics import evaluate, standard_mask, standard_psnr

Numbers = dict[str, float | None]

METRICS = ("psnr", "ssim", "nmse")
FIRST_LESION = 10


def score(image: Array, case: QualityCase, *, lesions: bool = True) -> Numbers:
    """``image`` against the case's full dose and truth; ``lesions`` need slices that lie side by side."""
    numbers: Numbers = {}
    for protocol, metrics in evaluate(image, case.full).items():
        numbers |= {f"{protocol}.{key}": metrics[key] for key in METRICS}
    against = evaluate(image, case.truth, protocols=["standard"])["standard"]
    numbers |= {f"truth.{key}": against[key] for key in METRICS}
    numbers["activity_ratio"] = change(image, case.full).activity_ratio
    if case.labels is not None:
        for prefix, reference in (("", case.full), ("truth.", case.truth)):
            biases = regions(image, reference, case, lesions=lesions)
            numbers |= {prefix + key: value for key, value in biases.items()}
    return numbers


def plain_psnr(image: Array, full: Array) -> float:
    """PSNR of the protocol ``standard``, dB, where many images are compared and SSIM would take minutes."""
    peak = float(full.max())
    return standard_psnr(np.asarray(image, np.float64) / peak, np.asarray(full, np.float64) / peak)


def spread(std: Array, full: Array) -> float:
    """Mean of the samples' standard deviation over the active voxels, over the reference's maximum."""
    return float(std[standard_mask(full)].mean(dtype=np.float64) / full.max())


def regions(image: Array, reference: Array, case: QualityCase, *, lesions: bool) -> Numbers:
    """Biases of ``image`` against ``reference`` in grey and white matter and in hot lesions."""
    assert case.labels is not None
    tissue = np.where(np.isin(case.labels, (GREY, WHITE)), case.labels, 0)
    numbers: Numbers = {"grey_bias": None, "white_bias": None}
    names = {GREY: "grey_bias", WHITE: "white_bias"}
    if tissue.any():
        for row in roi_statistics(image, tissue, reference=reference):
            numbers[names[row.label]] = row.mean_bias_percent
    if lesions:
        hot = hot_lesions(case)
        peaks: list[float] = []
        if hot.any():
            rows = roi_statistics(image, hot, reference=reference, voxel_mm=case.voxel_mm)
            peaks = [r.peak_bias_percent for r in rows if r.peak_bias_percent is not None]
        numbers["lesion_peak_bias"] = float(np.mean(peaks)) if peaks else None
    return numbers


def hot_lesions(case: QualityCase) -> NDArray[np.int32]:
    """Each lesion that is truly hotter than grey matter, numbered from 10; 0 elsewhere.

    Cold ones have no peak of their own.
    """
    from scipy import ndimage

    assert case.labels is not None
    numbered, count = ndimage.label(case.labels == LESION)
    grey = case.labels == GREY
    level = float(case.truth[grey].mean()) if grey.any() else 0.0
    kept = np.zeros(case.labels.shape, np.int32)
    for lesion in range(1, count + 1):
        inside = numbered == lesion
        if float(case.truth[inside].mean()) > level:
            kept[inside] = FIRST_LESION + lesion
    return kept
