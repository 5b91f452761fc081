"""The NEMA phantom through a model: simulated at several doses, or a real series."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import petrt
from petrt.arrays import Array
from petrt.data.simulate.iq_phantom import FWHM_MM, scan
from petrt.data.simulate.scanner import UNIT
from petrt.diffusion.dose import dose_text
from petrt.evaluation.nema import phantom
from petrt.evaluation.nema_find import Found
from petrt.evaluation.phantom_table import Images, figures, summary
from petrt.evaluation.report.case import Case
from petrt.inference.origin import made_of
from petrt.inference.reconstruction import Reconstruction
from petrt.inference.reconstructor import Reconstructor
from petrt.inference.shown import shown_case
from petrt.io.volume import Volume
from petrt.suv import display

logger = logging.getLogger("petrt")

# (images of one realisation, output of the model) -> name -> image of another method
Others = Callable[[Images], dict[str, Array]]
# Takes one reconstruction as a page shows it.
Seen = Callable[[Case], object]


@dataclass(frozen=True)
class Simulation:
    """What is simulated: ``kinds`` of phantom, dose reductions, ``realisations`` of the counts."""

    kinds: Sequence[str] = ("body", "head")
    doses: Sequence[int] = (100, 20)
    realisations: int = 4
    contrast: float = 4.0
    cold: tuple[float, ...] = ()
    seed: int = 0


def simulated(
    run: Reconstructor, what: Simulation, others: Others | None = None, first: Seen | None = None
) -> dict[str, Any]:
    """The report of simulated phantoms: kind -> dose -> ``summary`` and the record of each realisation.
    ``first`` gets the first reconstruction."""
    voxel_mm = run.bundle.model.domain.voxel_mm[0]
    report = _headed(run) | {
        "source": "simulated",
        "settings": {
            "contrast": what.contrast,
            "cold_mm": list(what.cold),
            "seed": what.seed,
            "voxel_mm": voxel_mm,
            "scanner_fwhm_mm": FWHM_MM,
        },
        "phantoms": {},
    }
    for kind in what.kinds:
        nema = phantom(kind, contrast=what.contrast, cold=what.cold)
        records: dict[int, list[dict[str, Any]]] = {dose: [] for dose in what.doses}
        for number in range(what.realisations):
            measured = scan(nema, what.doses, seed=what.seed + number, voxel_mm=voxel_mm)
            for dose in what.doses:
                logger.info("%s, realisation %d, 1/%d dose", kind, number + 1, dose)
                low = measured.low[dose]
                done = run(low, affine=measured.affine, dose=1 / dose, allow_activity_change=True)
                images = Images(low, done.image, measured.full, measured.affine, nema)
                records[dose].append(_record(images, others, done.stats["warnings"]))
                if first is not None:
                    seen = _seen(done, measured.full, f"{kind}, 1/{dose} dose, realisation 1")
                    first(replace(seen, unit=UNIT))
                    first = None
        report["phantoms"][kind] = {
            f"1/{dose}": {**summary(each), "each": each} for dose, each in records.items()
        }
    return report


def of_series(
    run: Reconstructor,
    volume: Volume,
    full: Volume | None,
    found: Found,
    dose: float | None,
    hashes: Mapping[str, str],
    first: Seen | None = None,
) -> dict[str, Any]:
    """The report of one real series, with the ``full`` dose on the same grid if there is one. ``hashes``: of
    the files of both. ``first`` gets the reconstruction."""
    done = run(volume, dose=dose, allow_activity_change=True)
    output = np.asarray(done.image.get_fdata(dtype="float32"))
    images = Images(
        volume.data,
        output,
        None if full is None else full.data,
        volume.affine_mm,
        found.nema,
        found.pose,
    )
    record = _record(images, None, done.stats["warnings"])
    if first is not None:
        reference = None if full is None else display(volume).of(full.data)
        first(_seen(done, reference, found.nema.kind, hashes))
    centres = [[*map(float, found.pose[:3, 3] + np.array(s.centre_mm))] for s in found.nema.spheres]
    at = "as given" if dose is None else dose_text(dose)
    return _headed(run) | {
        "source": "series",
        "hashes": dict(hashes),
        "settings": {
            "contrast": found.nema.contrast,
            "correlation": found.correlation,
            "centres_mm": centres,
        },
        "phantoms": {found.nema.kind: {at: {**summary([record]), "each": [record]}}},
    }


def _seen(
    done: Reconstruction, full: Array | None, what: str, hashes: Mapping[str, str] | None = None
) -> Case:
    """A reconstruction with its ``full`` dose, in the unit that pages show."""
    known = made_of(done).hashes(done.stats["model"]["sha256"]) | dict(hashes or {})
    stats = done.stats | {"hashes": known}
    case, _ = shown_case(replace(done, stats=stats), coarse=done.coarse is not None)
    return replace(case, reference=full, frame=what)


def _record(images: Images, others: Others | None, warnings: list[str]) -> dict[str, Any]:
    more = {} if others is None else others(images)
    return figures(images, more) | {"warnings": warnings}


def _headed(run: Reconstructor) -> dict[str, Any]:
    model = run.bundle.model
    return {
        "what": "NEMA image quality phantom: contrast recovery, background variability, bias",
        "label": model.label,
        "petrt": petrt.__version__,
        "model": {"name": model.name, "sha256": run.bundle.identity},
        "samples": run.samples,
        "sampler": None if run.sampler is None else run.sampler.model_dump(mode="json"),
    }
