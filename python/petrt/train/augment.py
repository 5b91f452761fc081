"""Augmentation of a drawn slice: crop, rotation, flip, intensity and dose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from petrt.train.config import DataConfig

Size = tuple[int, int]


@dataclass(frozen=True)
class View:
    """A transformation of slices [H, W], the same for all slices of an item.

    The window of ``size`` (h, w) lies ``shift`` voxels off the centre, inside the slice if it fits. A
    smaller slice lies completely inside the window, with zeros around it. ``rotation_deg`` rotates the
    slice about the window's centre, from H towards W. ``flip`` mirrors H, the canonical x axis (left and
    right), the only direction in which anatomy may be mirrored. ``gain`` multiplies all voxels.

    Rotation interpolates linearly, so a rotated slice is slightly less noisy than its dose.
    """

    size: Size
    shift: Size = (0, 0)
    flip: bool = False
    rotation_deg: float = 0.0
    gain: float = 1.0

    def __call__(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """``slices`` [N, H, W] transformed: a new array [N, h, w]."""
        start = [
            _start(*axis) for axis in zip(slices.shape[1:], self.size, self.shift, strict=True)
        ]
        if self.rotation_deg:
            seen = _turn(slices, start, self.size, self.rotation_deg)
        else:
            seen = _cut(slices, start, self.size)
        return np.multiply(seen[:, ::-1] if self.flip else seen, np.float32(self.gain))


def draw_view(rng: np.random.Generator, size: Size, config: DataConfig) -> View:
    """A view of ``size`` with shift, flip, rotation and gain drawn as ``config`` states."""
    shift = rng.integers(-config.shift, config.shift + 1, 2)
    return View(
        size=size,
        shift=(int(shift[0]), int(shift[1])),
        flip=config.flip and bool(rng.random() < 0.5),
        rotation_deg=config.rotation_deg * rng.standard_normal(),
        gain=float(np.exp(config.intensity * rng.standard_normal())),
    )


def mixed_dose(weight: float, first: float, second: float) -> float:
    """Dose fraction of ``weight`` * first image + (1 - weight) * second image, from their fractions.

    The variance of an image is proportional to 1 / dose, hence 1/d = weight^2 / first +
    (1 - weight)^2 / second. This assumes independent noise; if one image was made from the other's
    counts, the mixture is noisier.
    """
    return 1 / (weight**2 / first + (1 - weight) ** 2 / second)


def _start(extent: int, wanted: int, shift: int) -> int:
    """First voxel of a window of ``wanted`` voxels on an axis of ``extent``; negative if it is larger."""
    slack = extent - wanted
    return int(np.clip(slack // 2 + shift, min(0, slack), max(0, slack)))


def _cut(slices: NDArray[np.float32], start: list[int], size: Size) -> NDArray[np.float32]:
    """The window of ``slices`` as a new array, zero outside the slices."""
    out = np.zeros((len(slices), *size), np.float32)
    source, target = [], []
    for begin, wanted, extent in zip(start, size, slices.shape[1:], strict=True):
        first, last = max(begin, 0), min(begin + wanted, extent)
        source.append(slice(first, last))
        target.append(slice(first - begin, last - begin))
    out[:, target[0], target[1]] = slices[:, source[0], source[1]]
    return out


def _turn(
    slices: NDArray[np.float32], start: list[int], size: Size, degrees: float
) -> NDArray[np.float32]:
    """The window of ``slices`` rotated about its centre, with linear interpolation."""
    angle = np.deg2rad(degrees)
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = (np.array(size) - 1) / 2
    offset = middle + start - back @ middle
    out = np.empty((len(slices), *size), np.float32)
    for image, seen in zip(slices, out, strict=True):
        scipy.ndimage.affine_transform(
            image, back, offset, size, seen, order=1, mode="grid-constant", prefilter=False
        )
    return out
