"""Draws batches of slices from a prepared data set.

A batch holds all random numbers of its training step. Item i of step s depends only on (seed, s, i), not on
the number of processes, the number of loader workers, or where a run was resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from petrt.data.dataset import Dataset
from petrt.diffusion.guides import OFFSETS, spectrum
from petrt.imaging.transform import seen
from petrt.train.augment import Size, View, draw_view, mixed_dose
from petrt.train.config import TrainConfig
from petrt.train.levels import draw_gamma
from petrt.train.matching import check, doses_of, others_than

# Voxels above this fraction of the volume's scale are active.
ACTIVE = 0.05
CENTRE = OFFSETS.index(0)


@dataclass(frozen=True)
class Batch:
    """One training step's slices at low (x) and full dose (y), their guides and their noise.

    Images are what the networks see (petrt.imaging.transform).

    ``x``, ``y`` [B, 1, h, w]; ``x_nas``, ``y_nas`` [B, 5, h, w]; ``dose`` [B], fraction of the full
    dose; ``noise`` [B, 1, h, w] ~ N(0, 1); ``gamma`` [B], the noise level. ``x_spectrum``,
    ``y_spectrum`` [B, 1, h, w]: None if the networks take no spectrum. ``negatives`` [B, n, h, w]:
    full-dose slices of other subjects, None without a contrastive term.
    """

    x: Tensor
    y: Tensor
    x_nas: Tensor
    y_nas: Tensor
    dose: Tensor
    noise: Tensor
    gamma: Tensor
    x_spectrum: Tensor | None = None
    y_spectrum: Tensor | None = None
    negatives: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """A copy on ``device``; the transfer from pinned memory is asynchronous."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory (called by DataLoader)."""
        return self._map(Tensor.pin_memory)

    def part(self, items: slice) -> Batch:
        """The batch with only these items."""
        return self._map(lambda tensor: tensor[items])

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors: dict[str, Any] = {
            k: None if v is None else change(v) for k, v in vars(self).items()
        }
        return replace(self, **tensors)


@dataclass(frozen=True)
class Item:
    """One slice of a batch: NAS [5, h, w] at both doses, negatives [n, h, w], and its numbers."""

    x_nas: NDArray[np.float32]
    y_nas: NDArray[np.float32]
    dose: float
    noise: NDArray[np.float32]
    gamma: NDArray[np.float32]
    negatives: NDArray[np.float32] | None


def nas(volume: NDArray[Any], z: int) -> NDArray[np.float32]:
    """Slices z-2 .. z+2 of ``volume`` [Z, H, W], as petrt.diffusion.guides.neighbours: a copy [5, H, W].

    Only these slices of a memory map are read.
    """
    depth = len(volume)
    index = [z + offset if 0 <= z + offset < depth else z for offset in OFFSETS]
    return np.asarray(volume)[index].astype(np.float32)


class Slices(TorchDataset[Batch]):
    """Step -> batch. Volumes are opened in the process that reads them, so a copy for a worker is small.

    With ``rank`` and ``world``, only that process's part of each batch. Raises the errors of ``check``.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        config: TrainConfig,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        check(dataset, ids, config, world)
        self.dataset, self.ids, self.config = dataset, tuple(ids), config
        share = config.batch // world
        self.share = slice(rank * share, (rank + 1) * share)

    @property
    def most_bytes(self) -> int:
        """The size of the largest batch, as a worker passes it on."""
        data, loss = self.config.data, self.config.loss
        # x, y and the noise; their neighbours; their spectra; the negatives.
        channels = 3 + 2 * len(OFFSETS) + 2 * (self.config.model.network.guide_count == 2)
        channels += data.negatives if loss.contrastive != "none" else 0
        whole = data.rescale == "batch"
        items = self.config.batch if whole else self.share.stop - self.share.start
        pixels = max(height * width for height, width in data.crops)
        return 4 * items * (channels * pixels + 2)  # the dose and the noise level

    def __getitem__(self, step: int) -> Batch:
        config = self.config
        rng = np.random.default_rng([config.seed, step, 0])
        size = config.data.crops[int(rng.integers(len(config.data.crops)))]
        subjects = [self.ids[k] for k in rng.integers(len(self.ids), size=config.batch)]
        # The minimum and maximum are those of the whole batch, also for a part of it.
        whole = config.data.rescale == "batch"
        wanted = range(config.batch)[slice(None) if whole else self.share]
        items = [self._item(step, i, size, subjects) for i in wanted]
        batch = _collate(items, config.model.network.guide_count == 2)
        return _rescaled(batch).part(self.share) if whole else batch

    def _item(self, step: int, i: int, size: Size, subjects: list[str]) -> Item:
        config = self.config
        rng = np.random.default_rng([config.seed, step, i + 1])
        low, full, dose, height = self._draw(rng, subjects[i])
        view = draw_view(rng, size, config.data)
        negatives = None
        if config.loss.contrastive != "none":
            negatives = self._negatives(rng, subjects[i], subjects, height, view)
        noise = rng.standard_normal((1, *size), dtype=np.float32)
        low, full = (seen(view(image), config.model.transform) for image in (low, full))
        return Item(low, full, dose, noise, draw_gamma(rng, 1, config), negatives)

    def _draw(
        self, rng: np.random.Generator, name: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], float, float]:
        """A slice of subject ``name``: NAS at low and full dose [5, H, W], dose fraction, height 0..1."""
        reduction = self._draw_dose(rng, name)
        pair = self.dataset.pair(name, reduction)
        z = int(rng.choice(len(pair.weights), p=pair.weights / pair.weights.sum()))
        low, full, dose = nas(pair.low, z), nas(pair.full, z) * np.float32(pair.gain), 1 / reduction
        if rng.random() < self.config.data.blend:
            other = self.dataset.pair(name, self._draw_dose(rng, name, without=reduction))
            weight = rng.random()
            # Each low volume is divided by its own scale; the mixture's scale is their mean.
            scale = weight * pair.scale + (1 - weight) * other.scale
            low *= np.float32(weight * pair.scale / scale)
            low += np.float32((1 - weight) * other.scale / scale) * nas(other.low, z)
            full *= np.float32(pair.scale / scale)
            dose = mixed_dose(weight, dose, 1 / other.dose)
        return low, full, dose, z / max(len(pair.full) - 1, 1)

    def _draw_dose(self, rng: np.random.Generator, name: str, without: int | None = None) -> int:
        """A dose reduction that subject ``name`` has, by the weights of the configuration."""
        doses = [dose for dose in doses_of(self.dataset, name, self.config) if dose != without]
        weights = np.array([self.config.data.doses[dose] for dose in doses])
        return doses[int(rng.choice(len(doses), p=weights / weights.sum()))]

    def _negatives(
        self, rng: np.random.Generator, name: str, subjects: list[str], height: float, view: View
    ) -> NDArray[np.float32]:
        """Full-dose slices [n, h, w] of other people near the same relative ``height``.

        If there are enough other people, none of them is in this batch. They get the item's own view,
        so that place and intensity do not distinguish them from it.
        """
        count, spread = self.config.data.negatives, self.config.data.negative_offset
        others = others_than(self.dataset, self.ids, subjects)
        if len(others) < count:
            others = others_than(self.dataset, self.ids, [name])
        chosen = rng.choice(others, count, replace=len(others) < count)
        images = []
        for other in map(str, chosen):
            pair = self.dataset.pair(other, self._draw_dose(rng, other))
            top = len(pair.full) - 1
            z = int(np.clip(round(height * top + spread * rng.standard_normal()), 0, top))
            image = np.asarray(pair.full)[z : z + 1].astype(np.float32)
            images.append(view(image * np.float32(pair.gain)))
        return seen(np.concatenate(images), self.config.model.transform)


def make_batch(dataset: Dataset, ids: Sequence[str], config: TrainConfig, step: int) -> Batch:
    """The whole batch of training step ``step``: ``config.batch`` items."""
    return Slices(dataset, ids, config)[step]


def _collate(items: list[Item], with_spectrum: bool) -> Batch:
    """A batch of items of one size. The centre channel of the NAS is the slice itself."""
    x_nas, y_nas = (np.stack([getattr(item, key) for item in items]) for key in ("x_nas", "y_nas"))
    x, y = (np.ascontiguousarray(stack[:, CENTRE : CENTRE + 1]) for stack in (x_nas, y_nas))
    negatives = [item.negatives for item in items if item.negatives is not None]
    return Batch(
        x=torch.from_numpy(x),
        y=torch.from_numpy(y),
        x_nas=torch.from_numpy(x_nas),
        y_nas=torch.from_numpy(y_nas),
        dose=torch.tensor([item.dose for item in items], dtype=torch.float32),
        noise=torch.from_numpy(np.stack([item.noise for item in items])),
        gamma=torch.from_numpy(np.concatenate([item.gamma for item in items])),
        x_spectrum=torch.from_numpy(spectrum(x)) if with_spectrum else None,
        y_spectrum=torch.from_numpy(spectrum(y)) if with_spectrum else None,
        negatives=torch.from_numpy(np.stack(negatives)) if negatives else None,
    )


def _rescaled(batch: Batch) -> Batch:
    """Rescale each image tensor by its minimum and maximum over the batch, as in the authors' training.

    Low and full dose then have different scales. Spectra already lie between 0 and 1.
    """

    def rescale(images: Tensor) -> Tensor:
        low, high = images.min(), images.max()
        return (images - low) / (high - low).clamp_min(torch.finfo(images.dtype).tiny)

    return replace(
        batch,
        x=rescale(batch.x),
        y=rescale(batch.y),
        x_nas=rescale(batch.x_nas),
        y_nas=rescale(batch.y_nas),
        negatives=None if batch.negatives is None else rescale(batch.negatives),
    )
