"""Pairs of low- and full-dose volumes in memory, and batches of slices cut from them.

A batch depends on (seed, step) alone, never on what was drawn before: a resumed run sees the slices
that the uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from petrt.errors import InputError
from petrt.geometry import plan, scale_of
from petrt.guides import NEIGHBOURS, neighbours, spectrum
from petrt.io import nifti
from petrt.simulate.dataset import subject_files
from petrt.spec import DomainSpec, ScaleRule
from petrt.train.config import DataConfig

# Voxels above this share of the volume's scale hold activity.
ACTIVE = 0.05


@dataclass(frozen=True)
class Pair:
    """One subject on the network grid [Z, H, W], both volumes divided by the low-dose volume's scale.

    ``weights`` [Z]: how often a slice is drawn; empty slices rarely.
    """

    name: str
    low: NDArray[np.float32]
    full: NDArray[np.float32]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """Slices and their guides, low dose (x) and full dose (y): [B, 1 or 5, H, W] each."""

    x: Tensor
    y: Tensor
    x_nas: Tensor
    y_nas: Tensor
    x_spectrum: Tensor
    y_spectrum: Tensor


def load_pair(root: Path, subject: int, dose: int, domain: DomainSpec, rule: ScaleRule) -> Pair:
    """Read subject ``subject`` of a dataset written by ``petrt simulate``.

    The scale comes from the low-dose volume alone, as it must at inference, and divides both.
    """
    files = subject_files(subject, [dose])
    paths = [root / files[key] for key in (f"1to{dose}", "full")]
    for path in paths:
        if not path.is_file():
            raise InputError(f"no {path.name} in {root}", "make it with petrt simulate")
    low, full = (nifti.read(path) for path in paths)
    if low.data.shape != full.data.shape or not np.allclose(low.affine, full.affine, atol=1e-4):
        raise InputError(f"{paths[0].name} and {paths[1].name} lie on different grids")
    placement = plan(low.data.shape, low.affine_mm, domain.voxel_mm)
    scale = scale_of(low.data, rule, low.voxel_mm)
    if scale <= 0:
        raise InputError(f"{paths[0].name} is empty or constant")
    low_grid, full_grid = (placement.to_network(v.data) / np.float32(scale) for v in (low, full))
    object_share = (full_grid > ACTIVE).mean(axis=(1, 2))
    return Pair(
        f"sub-{subject:04d}", low_grid, full_grid, 0.02 + np.minimum(object_share / 0.1, 1.0)
    )


def load_pairs(
    root: Path, span: tuple[int, int], dose: int, domain: DomainSpec, rule: ScaleRule
) -> list[Pair]:
    """Subjects ``span[0] .. span[1] - 1``."""
    return [load_pair(root, subject, dose, domain, rule) for subject in range(*span)]


def centred(volume: NDArray[np.float32], z: int) -> NDArray[np.float32]:
    """NAS of one slice of ``volume`` [Z, H, W]: [5, H, W]."""
    return neighbours(volume, z, np.empty((1, NEIGHBOURS, *volume.shape[1:]), np.float32))[0]


def slices(
    pair: Pair, z: int, window: tuple[slice, slice], flip: bool, gain: float
) -> list[NDArray]:
    """NAS of slice ``z`` at low and full dose within ``window``: two arrays [5, h, w]."""
    stacks = []
    for volume in (pair.low, pair.full):
        stack = centred(volume, z)[:, window[0], window[1]]
        # H is the canonical x axis: left-right, along which a head may be mirrored.
        stacks.append((stack[:, ::-1] if flip else stack) * np.float32(gain))
    return stacks


def crop_window(
    shape: Sequence[int], size: tuple[int, int], shift: int, rng: np.random.Generator
) -> tuple[slice, slice]:
    """A window of ``size`` around the centre of an [H, W] slice, offset by up to ``shift`` voxels."""
    axes = []
    for extent, wanted in zip(shape, size, strict=True):
        if wanted > extent:
            raise InputError(f"crop {size} exceeds the slices {tuple(shape)} of the data")
        centre = (extent - wanted) // 2
        start = int(np.clip(centre + rng.integers(-shift, shift + 1), 0, extent - wanted))
        axes.append(slice(start, start + wanted))
    return axes[0], axes[1]


def assemble(low: NDArray[np.float32], full: NDArray[np.float32], threads: int) -> Batch:
    """A batch from NAS stacks [B, 5, H, W]; the centre channel is the slice itself."""
    x, y = (np.ascontiguousarray(stack[:, 2:3]) for stack in (low, full))
    arrays = (x, y, low, full, spectrum(x, threads), spectrum(y, threads))
    return Batch(*(torch.from_numpy(array) for array in arrays))


class Sampler:
    """Draws training batches from ``pairs``."""

    def __init__(
        self, pairs: Sequence[Pair], config: DataConfig, batch: int, seed: int, threads: int
    ) -> None:
        if not pairs:
            raise InputError("no training subjects", "check [data] train = [first, end]")
        self.pairs, self.config, self.size = pairs, config, batch
        self.seed, self.threads = seed, threads

    def __call__(self, step: int) -> Batch:
        """The batch of training step ``step``."""
        rng = np.random.default_rng([self.seed, step])
        config = self.config
        size = config.crops[int(rng.integers(len(config.crops)))]
        low, full = [], []
        for _ in range(self.size):
            pair = self.pairs[int(rng.integers(len(self.pairs)))]
            z = int(rng.choice(len(pair.weights), p=pair.weights / pair.weights.sum()))
            window = crop_window(pair.low.shape[1:], size, config.shift, rng)
            flip = config.flip and bool(rng.random() < 0.5)
            gain = float(np.exp(config.intensity * rng.standard_normal()))
            stacks = slices(pair, z, window, flip, gain)
            low.append(stacks[0])
            full.append(stacks[1])
        return assemble(np.stack(low), np.stack(full), self.threads)
