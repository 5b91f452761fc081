"""Uptake of FDG, of an amyloid tracer and of FDOPA in a head, as standardised uptake values.

The ranges are typical of the clinic. FDG: grey matter of SUV 5-9, four times white matter. Amyloid (Klunk et
al., Ann Neurol 55:306, 2004; Rowe, Villemagne, J Nucl Med 52:1733, 2011): unspecific white matter above the
cerebellar cortex, and in positive people a cortex that reaches or passes white matter, least in occipital,
sensorimotor and medial temporal cortex. FDOPA (Brooks et al., Ann Neurol 28:547, 1990): a striatum of two to
three times the rest, and in Parkinson's disease a loss that is worst in the posterior putamen of one side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from petrt.arrays import Array
from petrt.data.simulate.anatomy import Anatomy, smooth_noise
from petrt.data.simulate.phantom import (
    GREY,
    REGIONS,
    WHITE,
    Labels,
    Phantom,
    label_tissues,
    paint_lesion,
    regional_factor,
)

Range = tuple[float, float]


@dataclass(frozen=True)
class Tracer:
    """A tracer: ``share`` of the subjects, ranges of its uptake and of its protocol.

    ``grey`` is an SUV; ``white``, ``csf``, ``soft`` (scalp, face) and ``hot`` (lesions) are relative to it.
    """

    share: float
    positive_share: float
    grey: Range
    white: Range
    csf: Range
    soft: Range
    hot: Range
    mbq_per_kg: Range
    minutes: Range


TRACERS = {
    "fdg": Tracer(
        share=0.6,
        positive_share=0.4,
        grey=(5, 9),
        white=(0.21, 0.3),
        csf=(0.02, 0.06),
        soft=(0.12, 0.22),
        hot=(1.3, 2.2),
        mbq_per_kg=(2, 5),
        minutes=(5, 15),
    ),
    "amyloid": Tracer(
        share=0.25,
        positive_share=0.5,
        grey=(0.9, 1.4),
        white=(1.5, 2.2),
        csf=(0.1, 0.3),
        soft=(0.4, 0.8),
        hot=(1.5, 3.0),
        mbq_per_kg=(3, 5),
        minutes=(10, 20),
    ),
    "fdopa": Tracer(
        share=0.15,
        positive_share=0.4,
        grey=(0.9, 1.4),
        white=(0.75, 0.95),
        csf=(0.2, 0.5),
        soft=(0.3, 0.7),
        hot=(1.5, 3.5),
        mbq_per_kg=(2, 4),
        minutes=(10, 20),
    ),
}

AMYLOID = {
    "frontal": 1.75,
    "superior frontal": 1.6,
    "motor": 1.15,
    "parietal": 1.6,
    "temporal": 1.55,
    "temporal pole": 1.3,
    "medial temporal": 1.1,
    "occipital": 1.2,
    "posterior cingulate": 1.9,
    "insula": 1.5,
    "caudate": 1.5,
    "putamen": 1.5,
    "thalamus": 1.15,
    "cerebellum": 1.0,
}
"""Mean factors of grey matter in people whose amyloid scan is positive, by region."""

# MNI centre of the right one and radii, mm
Part = tuple[tuple[float, float, float], tuple[float, float, float]]
CAUDATE: tuple[Part, ...] = (((12, 14, 6), (5, 10, 9)), ((15, -2, 18), (4, 12, 5)))
PUTAMEN_FRONT: Part = ((22, 10, 0), (5, 9, 8))
PUTAMEN_BACK: Part = ((28, -6, 1), (4.5, 11, 8))
STRIATUM: Range = (2.0, 3.2)
"""Striatum of FDOPA relative to grey matter."""

LESIONS_MM: Range = (5, 30)
MOST_LESIONS = 5
COLD: Range = (0.02, 0.4)


def make_head(
    rngs: tuple[np.random.Generator, np.random.Generator],
    head: Anatomy,
    name: str,
    positive: bool,
    voxel_mm: float,
) -> Phantom:
    """Activity, as SUV, and labels of ``head`` with the tracer ``name``; ``rngs``: of uptake, of lesions."""
    uptake, lesions = rngs
    tracer, shape, brain = TRACERS[name], head.soft.shape, head.brain
    level = uptake.uniform(*tracer.grey)
    factor = _grey_factor(uptake, head.inside, name, positive)
    factor *= 1 + 0.04 * smooth_noise(uptake, shape, 14 / voxel_mm)[brain]
    white = 1 + 0.05 * smooth_noise(uptake, shape, 14 / voxel_mm)[brain]
    soft = np.maximum(1 + 0.25 * smooth_noise(uptake, shape, 8 / voxel_mm), 0)
    ratios = {key: uptake.uniform(*getattr(tracer, key)) for key in ("white", "csf", "soft")}
    inside = factor * head.grey + ratios["white"] * white * head.white + ratios["csf"] * head.csf
    if name == "fdopa":
        inside += _striatum(uptake, head.inside, positive) * (head.grey + head.white)
    activity = np.float32(level * ratios["soft"]) * soft * head.soft
    activity[brain] += np.float32(level) * inside
    labels = label_tissues(brain, head.grey, head.white, head.csf, head.soft)
    add_lesions(lesions, activity, labels, level, tracer.hot, voxel_mm)
    return Phantom(activity.astype(np.float32), labels)


def _grey_factor(rng: np.random.Generator, mni: Array, name: str, positive: bool) -> Array:
    """Relative uptake [N] of the grey matter at ``mni`` [3,N]."""
    if name == "fdg":
        return regional_factor(rng, mni, lowered_share=float(positive))
    means = dict.fromkeys(REGIONS, 1.0)
    if name == "amyloid" and positive:
        severity = rng.uniform(0.5, 1.2)
        means = {region: 1 + severity * (mean - 1) for region, mean in AMYLOID.items()}
    return regional_factor(rng, mni, means, lowered_share=0.0)


def _striatum(rng: np.random.Generator, mni: Array, positive: bool) -> Array:
    """Uptake [N] that the striatum has above grey matter's 1, at ``mni`` [3,N]."""
    excess = np.zeros(mni.shape[1], np.float32)
    height = rng.uniform(*STRIATUM) - 1
    worse = rng.integers(2)  # the side with the greater loss
    loss = rng.uniform(0.5, 0.9) if positive else 0.0
    for side, sign in enumerate((1, -1)):
        lost = loss if side == worse else 0.6 * loss
        parts = [(part, 0.2 * lost) for part in CAUDATE]
        parts += [(PUTAMEN_FRONT, 0.6 * lost), (PUTAMEN_BACK, lost)]
        for (centre, radii), less in parts:
            where = np.array([sign * centre[0], *centre[1:]], np.float32)
            scaled = (mni - where[:, None]) / np.array(radii, np.float32)[:, None]
            edge = np.clip((1 - np.sqrt((scaled**2).sum(axis=0))) * min(radii) / 2 + 0.5, 0, 1)
            np.maximum(excess, np.float32(height * (1 - less)) * edge, out=excess)
    return excess


def add_lesions(
    rng: np.random.Generator,
    activity: Array,
    labels: Labels,
    grey: float,
    hot: Range,
    voxel_mm: float,
) -> None:
    """Add up to 5 ellipsoids of 5-30 mm (log-uniform) to the brain and label them, in place.

    Three of five are hot: ``hot`` times the activity ``grey``. The others are cold.
    """
    brain = np.flatnonzero((labels == GREY) | (labels == WHITE))
    count = int(rng.integers(0, MOST_LESIONS + 1)) if brain.size else 0
    for _ in range(count):
        place, ratio = rng.random(), hot if rng.random() < 0.6 else COLD
        diameter = np.exp(rng.uniform(*np.log(LESIONS_MM)))
        sides = rng.uniform(0.7, 1, 3)
        centre = np.unravel_index(brain[int(place * brain.size)], labels.shape)
        radii = diameter / 2 * sides / sides.max() / voxel_mm
        paint_lesion(activity, labels, centre, radii, grey * rng.uniform(*ratio))
