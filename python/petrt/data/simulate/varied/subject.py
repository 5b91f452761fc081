"""One subject of the varied simulation: a head at 2 mm, scanned on the grid of its own scanner.

The head does not depend on the grid. It is blurred to the scanner's resolution, brought to the scanner's
grid, measured and reconstructed there. The images stay on that grid, or are resampled to the one that is
asked for, by the splines that petrt uses for every volume (``petrt.imaging.resample``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petrt.arrays import Array
from petrt.data.simulate.anatomy import make_anatomy
from petrt.data.simulate.phantom import Labels
from petrt.data.simulate.projector import make_projector
from petrt.data.simulate.varied.parameters import Drawn
from petrt.data.simulate.varied.physics import attenuation_map, measure
from petrt.data.simulate.varied.reconstruction import reconstruct, smooth
from petrt.data.simulate.varied.tracers import make_head
from petrt.imaging import resample

Shape = tuple[int, int, int]
Voxel = tuple[float, float, float]

HEAD_SHAPE: Shape = (128, 128, 128)
HEAD_MM = 2.0
"""Grid on which the head is made: finer than the resolution of any of the scanners."""


@dataclass(frozen=True)
class Volumes:
    """Volumes of one subject, [X,Y,Z] on one grid; activities in Bq/ml. ``truth``: without noise."""

    full: Array
    low: dict[int, Array]
    truth: Array
    activity: Array
    labels: Labels


@dataclass(frozen=True)
class Head:
    """A head on the 2 mm grid: activity (Bq/ml), labels, attenuation (1/mm), the corrections' map of it."""

    activity: Array
    labels: Labels
    true_map: Array
    used_map: Array


def make_subject(seed: np.random.SeedSequence, drawn: Drawn) -> Head:
    """The head of ``seed`` with the tracer of ``drawn``."""
    warp, uptake, texture, lesions = (np.random.default_rng(s) for s in seed.spawn(4))
    head = make_anatomy(warp, texture, HEAD_SHAPE, HEAD_MM, drawn.head_scale)
    made = make_head((uptake, lesions), head, drawn.tracer, drawn.positive, HEAD_MM)
    used = attenuation_map(head, bone=drawn.bone) * np.float32(1 + drawn.attenuation_error)
    shift = np.array(drawn.misalignment_mm) / HEAD_MM
    return Head(
        activity=made.activity * np.float32(1000 * drawn.mbq_per_kg),
        labels=made.labels,
        true_map=attenuation_map(head),
        used_map=ndimage.shift(used, shift, order=1, mode="nearest"),
    )


def simulate_varied(
    anatomy: np.random.SeedSequence,
    drawn: Drawn,
    noise: Sequence[np.random.Generator],
    doses: Sequence[int],
    grid: tuple[Shape, Voxel] | None,
) -> Volumes:
    """The subject on ``grid`` (voxels, their size in mm), on that of its scanner if None.

    ``noise``: the random streams of the full dose's counts and of each of ``doses``.
    """
    head = make_subject(anatomy, drawn)
    shape, voxel_mm = own = (drawn.shape, drawn.voxel_mm)
    projector = make_projector(*shape[:2], drawn.subsets)
    cube = (HEAD_MM, HEAD_MM, HEAD_MM)
    blurred = smooth(head.activity, drawn.fwhm_mm, cube)
    blurred, true_map, used_map = (
        np.maximum(to_grid(v, cube, *own), 0) for v in (blurred, head.true_map, head.used_map)
    )
    measured = measure(blurred, true_map, used_map, projector, drawn)
    counts = noise[0].poisson(measured.mean).astype(np.int32)
    data = [(measured.mean, 1), (counts, 1)]
    for dose, rng in zip(doses, noise[1:], strict=True):
        data.append((rng.binomial(counts, 1 / dose).astype(np.int32), dose))
    images = reconstruct(data, measured, drawn)
    if grid is not None:
        images = [to_grid(image, voxel_mm, *grid) for image in images]
    wanted = own if grid is None else grid
    return Volumes(
        truth=images[0],
        full=images[1],
        low=dict(zip(doses, images[2:], strict=True)),
        activity=to_grid(head.activity, cube, *wanted),
        labels=labels_to_grid(head.labels, *wanted),
    )


def to_grid(
    volume: Array, voxel_mm: Sequence[float], shape: Shape, new_mm: Sequence[float]
) -> Array:
    """``volume`` on a grid with the same centre; zero outside of its own grid."""
    operators = []
    for count, old, new_count, new in zip(volume.shape, voxel_mm, shape, new_mm, strict=True):
        # The voxels that the volume covers, as even or odd a number as asked for: the centre stays.
        covered = int(count * old / new + 1e-6)
        covered -= (covered - new_count) % 2
        same = covered == count and old == new
        operators.append(
            None if same else resample.operator(count, covered, new / old, smooth=True)
        )
    out: Array = resample.apply(volume, operators)
    for axis, (have, want) in enumerate(zip(out.shape, shape, strict=True)):
        if have > want:
            out = np.take(out, range((have - want) // 2, (have + want) // 2), axis=axis)
    pads = [((w - h) // 2, (w - h) // 2) for h, w in zip(out.shape, shape, strict=True)]
    return np.ascontiguousarray(np.pad(out, pads))


def labels_to_grid(labels: Labels, shape: Shape, voxel_mm: Sequence[float]) -> NDArray[np.uint8]:
    """The label at the centre of each voxel; 0 outside."""
    picks = []
    for count, new_count, mm in zip(labels.shape, shape, voxel_mm, strict=True):
        at = (np.arange(new_count) - (new_count - 1) / 2) * mm / HEAD_MM + (count - 1) / 2
        picks.append(np.floor(at + 0.5 + 1e-6).astype(int))
    inside = [(p >= 0) & (p < n) for p, n in zip(picks, labels.shape, strict=True)]
    out = np.zeros(shape, np.uint8)
    found = [pick[within] for pick, within in zip(picks, inside, strict=True)]
    out[np.ix_(*inside)] = labels[np.ix_(*found)]
    return out
