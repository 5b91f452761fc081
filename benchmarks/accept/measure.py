"""What is measured of the old and the new one, on the same cases, in turn.

Both run as a user runs them: their own default sampler and samples, the dose given, the calibrated standard
deviation where they have one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.quality.cases import QualityCase, View
from benchmarks.quality.scores import Numbers, score
from petrt.evaluation.calibration import active_voxels, coverage
from petrt.evaluation.metrics import psnr, standard_mask
from petrt.inference.reconstruction import Reconstruction
from petrt.inference.reconstructor import Reconstructor
from petrt.inference.verify_engine import reference_engine
from petrt.model.bundle import load_bundle

LEVEL = 0.9


@dataclass
class Side:
    """The old or the new one: how it runs, and dose -> subject -> its numbers."""

    run: Reconstructor
    numbers: dict[int, dict[str, Numbers]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        engine, bundle = self.run.engine, self.run.bundle
        return {
            "model": bundle.model.name,
            "sha256": bundle.identity,
            "engine": f"{engine.name} {engine.version}, {engine.precision}, {engine.device}",
            "samples": self.run.samples,
            "sampler": None if self.run.sampler is None else self.run.sampler.model_dump(),
        }


def open_side(model: str, engine: str, device: str, precision: str | None, threads: int) -> Side:
    """Raises PetrtError for a model or engine that cannot be used."""
    run = Reconstructor(
        load_bundle(model),
        engine=engine,
        device=device,
        precision=precision,
        threads=threads,
        allow_activity_change=True,  # which is among what is judged
    )
    return Side(run)


def middle(case: QualityCase, slices: int | None) -> QualityCase:
    """The head's box of ``case``, or the ``slices`` in its middle."""
    case = View(head=True).cut(case)
    if slices is None or slices >= case.low.shape[2]:
        return case
    first = (case.low.shape[2] - slices) // 2
    names = ("low", "full", "truth", "labels")
    volumes = {name: getattr(case, name) for name in names}
    cut = {
        name: None if volume is None else np.ascontiguousarray(volume[..., first : first + slices])
        for name, volume in volumes.items()
    }
    return replace(case, **cut)


def measure(sides: Sequence[Side], cases: Iterable[QualityCase]) -> None:
    """Run each of ``sides`` on each of ``cases``; ``sides[k].numbers`` holds what came of it."""
    for number, case in enumerate(cases):
        turn = sides if number % 2 == 0 else list(reversed(sides))
        for side in turn:
            begun = time.perf_counter()
            found = reconstructed(side.run, case)
            numbers = numbers_of(found, case)
            numbers["seconds"] = time.perf_counter() - begun
            side.numbers.setdefault(case.dose, {})[case.subject] = numbers


def reconstructed(run: Reconstructor, case: QualityCase) -> Reconstruction:
    return run(case.low, affine=case.affine, dose=1 / case.dose)


def numbers_of(found: Reconstruction, case: QualityCase) -> Numbers:
    """Scores against full dose, and the coverage of its intervals if the std is calibrated."""
    numbers = score(found.image, case)
    numbers["coverage"] = None
    if found.std is not None and found.stats["std"]["calibrated"]:
        voxels = active_voxels(found.image, found.std, case.full)
        numbers["coverage"] = 100 * coverage(voxels, LEVEL)
    return numbers


def against_reference(side: Side, case: QualityCase) -> dict[str, float]:
    """PSNR (dB) and the largest difference (per cent of the maximum) of a whole reconstruction by ``side``'s
    engine against the reference engine in float32 on the CPU, both from the same noise."""
    reference = Reconstructor(
        side.run.bundle, engine=reference_engine(side.run.bundle), allow_activity_change=True
    )
    expected = reconstructed(reference, case).image.astype(np.float64)
    found = reconstructed(side.run, case).image.astype(np.float64)
    peak, mask = float(expected.max()), standard_mask(expected)
    return {
        "psnr_db": float(psnr(found[mask], expected[mask], peak)),
        "difference_percent": 100 * float(np.abs(found - expected).max()) / peak,
    }
