"""Validation on fixed slices and noise, through the same reverse loop that the runtime uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from petrt._core import ReverseLoop
from petrt.guides import spectrum
from petrt.metrics import psnr
from petrt.nets import Model
from petrt.schedule import step_table
from petrt.spec import ModelSpec
from petrt.train.data import ACTIVE, Pair, centred

SAMPLES = 4
EVERY = 8  # slices


@torch.inference_mode()
def predict(
    model: Model, spec: ModelSpec, low: NDArray[np.float32], ids: Sequence[int], threads: int
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Coarse prediction and mean of ``SAMPLES`` samples of slices ``ids`` of ``low`` [Z, H, W].

    Returns two arrays [len(ids), H, W]; the second is None for a model without a denoiser.
    """
    nas = np.stack([centred(low, z) for z in ids])
    x = np.ascontiguousarray(nas[:, 2:3])
    features = []
    if model.guidance is not None:
        two = spec.network.guide_count == 2
        guide = torch.from_numpy(spectrum(x, threads)) if two else None
        features = model.guidance(torch.from_numpy(nas), guide)
    assert model.coarse is not None
    coarse = model.coarse(torch.from_numpy(x), features)
    denoiser = model.denoiser
    if denoiser is None:
        return coarse.numpy()[:, 0], None
    table = step_table(spec.schedule, spec.sampler)
    # The network takes the level itself here, so the table of noise biases has nothing to carry.
    film = np.zeros((table.steps, 1), np.float32)
    count, height, width = len(ids), *x.shape[2:]
    loop = ReverseLoop(table.coefs, spec.clip, film, count, 1, height, width, threads)
    r, eps = torch.from_numpy(loop.r), torch.from_numpy(loop.eps)

    levels = iter(table.levels)

    def enqueue() -> None:
        level = torch.full((count,), next(levels), dtype=torch.float32)
        eps.copy_(denoiser(torch.from_numpy(x), r, level, features))

    x_cp = coarse.numpy()
    for sample in range(SAMPLES):
        levels = iter(table.levels)  # enqueue reads the name, hence the new walk
        loop.run(enqueue, 0, np.asarray(ids, np.int64), sample)
        loop.accumulate(x_cp, spec.sigma_r)
    mean = np.empty_like(x_cp)
    loop.finish(mean)
    return x_cp[:, 0], mean[:, 0]


def validate(
    model: Model, spec: ModelSpec, pairs: Sequence[Pair], threads: int
) -> dict[str, float]:
    """Mean PSNR over subjects (protocol ``standard``, on every 8th slice): low, coarse and AMS-4."""
    rows = []
    for pair in pairs:
        ids = [z for z in range(0, len(pair.full), EVERY) if pair.full[z].max() > ACTIVE]
        full = pair.full[ids].astype(np.float64)
        inside = full > 0.05 * pair.full.max()
        coarse, mean = predict(model, spec, pair.low, ids, threads)
        images = {"low": pair.low[ids], "coarse": np.maximum(coarse, 0)}
        if mean is not None:
            images["ams"] = mean
        peak = float(pair.full.max())
        rows.append({k: psnr(v[inside], full[inside], peak) for k, v in images.items()})
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
