"""What petrt calibrate fits before it draws samples: the noise's width along z, and the noise domain."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from petrt.data.dataset import Dataset
from petrt.evaluation.coherence import neighbour_correlation, sigma_of
from petrt.evaluation.metrics import standard_mask
from petrt.evaluation.noise_domain import FEWEST_SUBJECTS, Case, fit_noise_domain
from petrt.inference.calibrate import active_box
from petrt.inference.reconstructor import Reconstructor
from petrt.model.bundle import Bundle
from petrt.model.spec import ModelSpec, NoiseDomain

logger = logging.getLogger("petrt")

# Subjects that the noise domain is fitted to. Its features of anatomy have one value a subject.
MOST_SUBJECTS = 40


def changed(bundle: Bundle, **fields: Any) -> Bundle:
    """``bundle`` in memory with other values of its model's specification."""
    model: ModelSpec = bundle.model.model_copy(update=fields)
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"model": model}))


def fit_coherence(
    bundle: Bundle,
    dataset: Dataset,
    ids: Sequence[str],
    dose: int,
    slab: int | None,
    options: dict[str, Any],
) -> tuple[float, float]:
    """The width of the noise along z, and the correlation of neighbouring slices' errors that it gives.

    The error is that of the coarse prediction, or of a sample without a coarse network, at 1/``dose``; the
    correlation is the mean over subjects.
    """
    kind: dict[str, Any] = {"preset": "coarse"}
    if bundle.model.network.coarse is None:
        kind = {"preset": "paper", "samples": 1}
    reconstructor = Reconstructor(bundle, **kind, **options)
    found = []
    for name in ids:
        pair = dataset.pair(name, dose)
        full = np.asarray(pair.full, np.float32) * np.float32(pair.gain)
        mask = standard_mask(full)
        box = active_box(mask, slab)
        low = np.asarray(pair.low[box], np.float32)
        mean, _, _ = reconstructor.on_grid(low, dose=1 / dose)
        found.append(neighbour_correlation(mean - full[box], mask[box]))
    correlation = float(np.mean(found))
    return sigma_of(correlation), correlation


def fit_domain(dataset: Dataset, model: ModelSpec, doses: Sequence[int]) -> NoiseDomain | None:
    """The noise domain of the training and validation subjects; None where they are too few.

    Of many subjects every n-th is taken.
    """
    names = [name for split in ("train", "validation") for name in dataset.split(split)]
    names = [name for name in names if set(doses) <= set(dataset.doses(name))]
    if len(names) < FEWEST_SUBJECTS or len(doses) < 2:
        logger.info(
            "the noise domain is not fitted: it needs %d subjects of the training and validation splits "
            "and two doses",
            FEWEST_SUBJECTS,
        )
        return None
    cases = (
        Case(name, np.asarray(dataset.pair(name, dose).low, np.float32), 1 / dose)
        for name in names[:: -(-len(names) // MOST_SUBJECTS)]
        for dose in doses
    )
    return fit_noise_domain(cases, model.domain.voxel_mm)
