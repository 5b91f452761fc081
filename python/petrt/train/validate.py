"""Validates a model on fixed slices and noise, with the reverse loop of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from petrt._core import ReverseLoop
from petrt.arrays import Array
from petrt.data.dataset import Dataset, Pair
from petrt.diffusion.guides import spectrum
from petrt.diffusion.noise_schedule import step_table
from petrt.errors import InputError
from petrt.evaluation.metrics import PROTOCOLS, json_number
from petrt.imaging.transform import seen, unseen
from petrt.model.spec import ModelSpec
from petrt.nets import Model
from petrt.train.config import TrainConfig
from petrt.train.data import ACTIVE, CENTRE, nas

# Slices per batch.
TOGETHER = 16

Images = dict[str, Array]
Scores = dict[str, dict[str, float]]


class GivenUp(Exception):
    """A validation that was stopped before its end."""


@dataclass(frozen=True)
class ValidationSlices:
    """The slices ``ids`` of one subject. ``peak``: maximum of the full-dose volume / scale."""

    pair: Pair
    ids: tuple[int, ...]
    peak: float

    @property
    def full(self) -> Array:
        """The full-dose slices [n, H, W], divided by the scale."""
        return np.asarray(self.pair.full)[list(self.ids)].astype(np.float32) * np.float32(
            self.pair.gain
        )


def cases(dataset: Dataset, config: TrainConfig) -> list[ValidationSlices]:
    """The validation split's first subjects, each at the dose that training draws most often.

    Each has every ``every``-th slice with activity. Raises InputError for a subject without any of the
    configuration's doses.
    """
    chosen = []
    for name in dataset.split("validation")[: config.validation.subjects]:
        weights = {d: config.data.doses.get(d, 0.0) for d in dataset.doses(name)}
        dose = max(weights, key=lambda d: (weights[d], d))
        if not weights[dose]:
            raise InputError(
                f"{name}, a validation subject, has none of the doses in data.doses",
                "change validation.txt or data.doses",
            )
        pair = dataset.pair(name, dose)
        peaks = np.asarray(pair.full).max((1, 2)).astype(np.float64) * pair.gain
        ids = [z for z in range(0, len(peaks), config.validation.every) if peaks[z] > ACTIVE]
        chosen.append(
            ValidationSlices(pair, tuple(ids or [int(peaks.argmax())]), float(peaks.max()))
        )
    return chosen


def scores(case: ValidationSlices, images: Images, protocols: Sequence[str]) -> Scores:
    """Protocol -> image -> PSNR in dB of ``images`` [n, H, W], over the case's slices."""
    full = case.full.astype(np.float64) / case.peak
    return {
        protocol: {
            name: PROTOCOLS[protocol].slices(image.astype(np.float64) / case.peak, full)
            for name, image in images.items()
        }
        for protocol in protocols
    }


def mean_scores(rows: Sequence[Scores]) -> Scores:
    """Mean over subjects."""
    return {
        protocol: {name: float(np.mean([row[protocol][name] for row in rows])) for name in images}
        for protocol, images in rows[0].items()
    }


def as_json(scores: Scores) -> dict[str, dict[str, float | None]]:
    """The scores for a JSON file, with None for NaN and infinity."""
    return {p: {k: json_number(v) for k, v in images.items()} for p, images in scores.items()}


@torch.inference_mode()
def predict(
    model: Model,
    spec: ModelSpec,
    low: NDArray[np.floating],
    ids: Sequence[int],
    *,
    dose: float,
    samples: int,
    threads: int = 1,
    stopped: Callable[[], bool] = lambda: False,
) -> Images:
    """Name -> image [len(ids), H, W] that the model predicts for slices ``ids`` of ``low`` [Z, H, W].

    The names are ``low``, the slices themselves; ``coarse``, if there is P; and with a denoiser, unless
    ``samples`` is 0, ``sample``, the first sample, and ``ams``, the mean of all. All are clipped at 0 as
    in the runtime. ``dose``: fraction of the full dose. The noise of a slice depends only on its number.
    Raises GivenUp when ``stopped``, which is asked before each step.
    """
    parts = [
        _predict(model, spec, low, ids[first : first + TOGETHER], dose, samples, threads, stopped)
        for first in range(0, len(ids), TOGETHER)
    ]
    return {name: np.concatenate([part[name] for part in parts])[:, 0] for name in parts[0]}


def _predict(
    model: Model,
    spec: ModelSpec,
    low: NDArray[np.floating],
    ids: Sequence[int],
    dose: float,
    samples: int,
    threads: int,
    stopped: Callable[[], bool],
) -> Images:
    """``predict`` of a few slices; each image [B, 1, H, W]."""
    if stopped():
        raise GivenUp
    device = next(model.parameters()).device
    linear = np.stack([nas(low, z) for z in ids])
    stack = seen(linear, spec.transform)
    x = np.ascontiguousarray(stack[:, CENTRE : CENTRE + 1])
    on_device, stacked = (torch.from_numpy(each).to(device) for each in (x, stack))
    features = []
    if model.guidance is not None:
        two, by_dose = spec.network.guide_count == 2, spec.network.dose
        features = model.guidance(
            stacked,
            torch.from_numpy(spectrum(x, threads)).to(device) if two else None,
            torch.full((len(ids),), dose, device=device) if by_dose else None,
        )
    images, x_cp = {"low": linear[:, CENTRE : CENTRE + 1]}, np.zeros_like(x)
    if model.coarse is not None:
        x_cp = model.coarse_of(on_device, stacked, features).cpu().numpy()
        images["coarse"] = unseen(np.maximum(x_cp, 0), spec.transform)
    if model.denoiser is None or not samples:
        return images
    table = step_table(spec.schedule, spec.sampler)
    # The network takes the level itself here, so the noise-bias table is not used.
    film = np.zeros((table.steps, 1), np.float32)
    height, width = x.shape[2:]
    loop = ReverseLoop(table.coefs, spec.clip, film, len(ids), 1, height, width, threads)
    r, eps = torch.from_numpy(loop.r), torch.from_numpy(loop.eps)
    levels: Iterator[float] = iter(())

    def enqueue() -> None:
        if stopped():
            raise GivenUp
        level = torch.full((len(ids),), next(levels), dtype=torch.float32, device=device)
        eps.copy_(model.denoiser(on_device, r.to(device), level, features))  # type: ignore[misc]

    for index in range(samples):
        levels = iter(table.levels)  # enqueue reads this variable
        loop.run(enqueue, 0, np.asarray(ids, np.int64), index)
        if index == 0:
            sample = np.maximum(x_cp + np.float32(spec.sigma_r) * loop.r, 0)
            images["sample"] = unseen(sample, spec.transform)
        loop.accumulate(x_cp, spec.sigma_r)
    images["ams"] = np.empty_like(x)
    loop.finish(images["ams"])
    images["ams"] = unseen(images["ams"], spec.transform)
    return images
