"""A bundle through petrt.Reconstructor: coarse, one sample, AMS; and rows.

Where only a part of the volume is looked at (the head's box, every n-th slice), the scale is still that of
the whole low-dose volume, so that slices are what they are in the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.quality.cases import QualityCase, View
from benchmarks.quality.figure import picture_slices
from benchmarks.quality.scores import score, spread
from benchmarks.quality.store import Measured
from petrt.arrays import Array
from petrt.evaluation.calibration import active_voxels
from petrt.imaging.scaling import scale_of
from petrt.inference.reconstructor import Reconstructor
from petrt.model.bundle import Bundle

COARSE, ONE, PLAIN = "coarse", "one sample", "plain U-Net (row b)"
# Active voxels kept of a case for coverage: it is then known to 0.2 %.
KEPT_VOXELS = 1 << 16


def ams(samples: int) -> str:
    """The mean of ``samples`` by the model's own sampler."""
    return f"AMS-{samples}"


@dataclass(frozen=True)
class Result:
    """Image, spread of the samples (not calibrated) and coarse prediction of a case's view, Bq/ml."""

    image: Array
    std: Array
    coarse: Array


@dataclass(frozen=True)
class Settings:
    """How models are run; ``views``: dose -> the part that they are shown."""

    samples: int
    seed: int
    threads: int | None
    views: Mapping[int, View]


def reconstruct(bundle: Bundle, case: QualityCase, settings: Settings, **options: Any) -> Result:
    """One run over the view of ``case``; ``options`` (samples, sampler, steps) of Reconstructor."""
    view, dose = settings.views[case.dose], 1 / case.dose
    # The networks are judged on every slice, also where a user's run leaves out pure background.
    shared = {"seed": settings.seed, "threads": settings.threads, "skip_background": False}
    shared["allow_activity_change"] = True  # which is among what is measured
    manifest = bundle.manifest
    plain = manifest.model.model_copy(update={"calibration": None, "uncertainty": None})
    bundle = replace(bundle, manifest=manifest.model_copy(update={"model": plain}))
    run = Reconstructor(bundle, **shared, **options)
    if view.whole:
        done = run(case.low, affine=case.affine, dose=dose)
        std = np.zeros_like(done.image) if done.std is None else done.std
        return Result(done.image, std, done.coarse)
    scale = np.float32(scale_of(case.low, bundle.model.scale, case.voxel_mm))
    planes = case.low[view.box(case)].transpose(2, 0, 1) / scale
    found = run.on_grid(planes, dose=dose, every=view.every)
    image, std, coarse = (
        np.ascontiguousarray(part[:: view.every].transpose(1, 2, 0)) * scale for part in found
    )
    return Result(image, std, coarse)


def measure(
    bundle: Bundle, plain: Bundle | None, case: QualityCase, settings: Settings
) -> Measured:
    """A model's own sampler on one case; ``arrays`` hold error and spread of the AMS mean's voxels.

    ``plain``: a model whose coarse network, without guides, is the plain U-Net of row b.
    """
    seen = settings.views[case.dose].cut(case)
    lesions = settings.views[case.dose].every == 1
    many = settings.samples
    measured, images = Measured(), {}

    def keep(name: str, image: Array, std: Array | None = None) -> None:
        images[name] = image
        measured.methods[name] = score(image, seen, lesions=lesions)
        if std is not None:
            measured.methods[name]["sd"] = spread(std, seen.full)

    if plain is not None:
        keep(PLAIN, reconstruct(plain, case, settings, preset="coarse").image)
    main = reconstruct(bundle, case, settings, preset="paper", samples=many)
    keep(COARSE, np.maximum(main.coarse, 0))
    keep(ONE, reconstruct(bundle, case, settings, preset="paper", samples=1).image)
    keep(ams(many), main.image, main.std)
    voxels = active_voxels(main.image, main.std, seen.full, most=KEPT_VOXELS)
    measured.arrays = picture_slices(images, seen)
    measured.arrays |= {"error": voxels.error, "std": voxels.std}
    measured.notes["active_voxels"] = voxels.active
    return measured


def measure_row(bundle: Bundle, case: QualityCase, settings: Settings) -> Measured:
    """One row of Table 2 on one case: the coarse prediction where there is one, a sample and the mean."""
    seen, measured = settings.views[case.dose].cut(case), Measured()
    network = bundle.model.network
    many = settings.samples

    def keep(name: str, image: Array, std: Array | None = None) -> None:
        measured.methods[name] = score(image, seen, lesions=False)
        if std is not None:
            measured.methods[name]["sd"] = spread(std, seen.full)

    options = {"preset": "paper", "samples": many} if network.denoiser else {}
    main = reconstruct(bundle, case, settings, **options)
    if network.coarse:
        keep(COARSE, np.maximum(main.coarse, 0))
    if network.denoiser:
        keep(ONE, reconstruct(bundle, case, settings, **options | {"samples": 1}).image)
        keep(ams(many), main.image, main.std)
    return measured
