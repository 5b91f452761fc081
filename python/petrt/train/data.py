"""Batches of slices drawn from a prepared data set.

Everything random of a training step is in its batch, and item i of step s depends on (seed, s, i)
alone: how many processes train, how many workers load and where a run was resumed change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from petrt.train.config import TrainConfig

if TYPE_CHECKING:
    from petrt.dataset import Dataset

# Voxels above this share of the volume's scale hold activity.
ACTIVE = 0.05


@dataclass(frozen=True)
class Batch:
    """One training step's slices at low (x) and full dose (y), their guides and their noise.

    ``x``, ``y`` [B, 1, h, w]; ``x_nas``, ``y_nas`` [B, 5, h, w]; ``dose`` [B], fraction of the full
    dose; ``noise`` [B, 1, h, w] ~ N(0, 1); ``gamma`` [B], the noise level. ``x_spectrum``,
    ``y_spectrum`` [B, 1, h, w] where the networks take a spectrum, else None; ``negatives``
    [B, n, h, w], full-dose slices of other subjects, where the objective has a contrastive term.
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
        """A copy on ``device``; from pinned memory the transfer does not wait."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory (called by DataLoader)."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Any) -> Batch:
        values = {k: None if v is None else change(v) for k, v in vars(self).items()}
        return Batch(**values)


def nas(volume: NDArray[Any], z: int) -> NDArray[np.float32]:
    """Slices z-2 .. z+2 of ``volume`` [Z, H, W] as petrt.guides.neighbours gives them: [5, H, W].

    Only these slices are read, whatever the type of a memory map; the result is a copy.
    """
    raise NotImplementedError


def make_batch(dataset: Dataset, ids: Sequence[str], config: TrainConfig, step: int) -> Batch:
    """The whole batch of training step ``step``: ``config.batch`` items."""
    raise NotImplementedError


def loader(
    dataset: Dataset,
    ids: Sequence[str],
    config: TrainConfig,
    *,
    first_step: int,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> Iterable[Batch]:
    """Batches of steps ``first_step``, ``first_step + 1``, ... without end.

    Process ``rank`` of ``world`` gets items ``rank * B / world`` up to the next one's of each batch of B.
    Loads in ``config.data.workers`` processes. Raises InputError or UsageError, before anything is
    loaded, for what does not fit the data set or the networks.
    """
    raise NotImplementedError
