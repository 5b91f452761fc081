"""How many slices and samples the networks take at once, and which batches a volume falls into."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petrt.engines.base import ANY_BATCH, BatchRange, Engine
from petrt.inference.forward import guidance_sizes
from petrt.model.spec import NetworkSpec

# Voxels that fill a large GPU: 128 images of 128 x 128. A larger batch costs memory and gains no time.
VOXELS = 128 * 128 * 128
# Feature maps of base width, at full resolution, that a U-Net holds at once: its skips, both sides of a
# convolution, and scratch. This is an estimate; where memory runs out, the batch is halved anyway.
LIVE_MAPS = 16
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class BatchShape:
    """``slices`` x ``samples`` images in one call of the denoiser, ``total`` samples a slice in all."""

    slices: int
    samples: int
    total: int

    @property
    def chunks(self) -> int:
        """Calls of the reverse loop that draw ``total`` samples."""
        return math.ceil(self.total / self.samples)


@dataclass(frozen=True)
class Limits:
    """Fewest and most slices, and images (slices x samples), that an engine takes in one call."""

    slices: BatchRange = ANY_BATCH
    images: BatchRange = ANY_BATCH

    @classmethod
    def of(cls, engine: Engine, network: NetworkSpec) -> Limits:
        first = "guidance" if network.guide_count or network.denoiser else "coarse"
        slices = engine.batch_range(first)
        return cls(slices, engine.batch_range("denoiser") if network.denoiser else slices)


ANY = Limits()


def even(count: int, most: int) -> int:
    """The size of parts of at most ``most`` that ``count`` items fall into evenly."""
    return math.ceil(count / math.ceil(count / most))


def plan_batch(
    depth: int, total: int, most: tuple[int, int], images: int, limits: Limits = ANY
) -> BatchShape:
    """The batch for ``depth`` slices of ``total`` samples each.

    ``most``: slices and samples that the caller allows; ``images``: slices x samples that memory allows.
    Samples come first, because guidance and coarse network run once for all samples of a slice. An
    engine with a smallest call (``limits``) always gets it, whatever the caller allows: ``rows`` repeats
    slices to fill it, and surplus samples are dropped.
    """
    (least_slices, most_slices), (least_images, most_images) = limits.slices, limits.images
    room = max(least_images, min(images, most_images or images))
    samples = even(total, max(1, min(total, most[1], room // least_slices)))
    if most_slices is not None:  # even the most slices may want several samples to be enough images
        samples = max(samples, math.ceil(least_images / most_slices))
    slices = even(depth, max(1, min(depth, most[0], most_slices or depth, room // samples)))
    return BatchShape(max(slices, least_slices, math.ceil(least_images / samples)), samples, total)


def starts(depth: int, slices: int) -> list[int]:
    """First slices of the batches. The last one is moved back to be full: one shape, one graph."""
    return [max(0, min(first, depth - slices)) for first in range(0, depth, slices)]


def rows(first: int, slices: int, depth: int) -> NDArray[np.int64]:
    """The slices of the batch that begins at ``first``. Beyond the end of the volume its last slice
    is repeated, as in ``_cuda.stack_slices``."""
    return np.minimum(np.arange(first, first + slices), depth - 1)


def image_bytes(engine: Engine, network: NetworkSpec, height: int, width: int) -> int:
    """Bytes of GPU memory for one more image in the batch: buffers, guides, features, maps, and what the
    U-Net holds."""
    plane = height * width
    fixed = 24 * plane * 4  # r, eps, x0, x, guides, results and their transfers
    between = guidance_sizes(engine, network, 1, height, width)
    if not between:
        return fixed
    dtypes = engine.dtypes("guidance")
    made = sum(size * BYTES[dtypes[name]] for name, size in between.items())
    unet = network.denoiser or network.coarse
    item = 4 if engine.precision == "fp32" else 2
    inside = LIVE_MAPS * unet.base * plane * item if unet else 0
    return fixed + made + inside


def images_within(budget: int, each: int, height: int, width: int) -> int:
    """Images in one call: enough to fill a GPU, but no more than ``budget`` bytes hold; at least one."""
    return max(1, min(VOXELS // (height * width), budget // each))
