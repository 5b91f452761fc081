"""A model's uncertainty on the subjects of a prepared data set: how they are run, fitted and judged."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.data.dataset import Dataset
from petrt.diffusion.presets import PRESETS, settle
from petrt.errors import InputError
from petrt.evaluation.metrics import standard_mask
from petrt.evaluation.uncertainty.errors import kept_voxels, region_errors, voxel_errors
from petrt.evaluation.uncertainty.fit import Errors, chosen, covering, fit, varying
from petrt.evaluation.uncertainty.judge import (
    judge_regions,
    judge_voxels,
    map_spec,
    of_map,
    of_region,
    region_spec,
)
from petrt.evaluation.uncertainty.regions import NAMES, STATISTICS, regions_of
from petrt.evaluation.uncertainty.spheres import SPHERES_ML, lesion_labels, sphere_labels
from petrt.evaluation.uncertainty.voxels import INTENSITY
from petrt.imaging.grid import SAME_VOXEL
from petrt.inference.reconstructor import Reconstructor
from petrt.model.spec import ModelSpec, SamplerSpec, SamplesSpec, UncertaintySpec

MARGIN = 8  # voxels of air around what is active: more than the networks look for an edge
# Values of a simulated subject's labels, as in petrt.data.simulate.phantom.LABELS.
TISSUES = {"grey": 1, "white": 2, "csf": 3, "other": 4, "lesion": 5}
LESION = "lesion"
Record = dict[str, Any]


@dataclass(frozen=True)
class Gathered:
    """One subject at one dose: its ``voxels``, the ``tissue`` of each where there are labels, and errors of
    regions, kind of region -> statistic -> errors. ``peak``: the full dose's maximum over the scale.
    ``ml``: sizes of the smallest and the largest region."""

    subject: str
    dose: int
    voxels: Errors
    tissue: NDArray[np.uint8] | None
    regions: dict[str, dict[str, Errors]]
    peak: float
    ml: tuple[float, float]


def samplers(model: ModelSpec, preset: str | None) -> dict[str, SamplerSpec]:
    """Preset -> its sampler for ``model``: all presets that draw samples, or that one. Raises UsageError."""
    found: dict[str, SamplerSpec] = {}
    for name in PRESETS if preset is None else [preset]:
        coarse = model.network.coarse is not None
        if preset is None and not coarse and PRESETS[name].sampler is not None:
            continue
        if preset is None and PRESETS[name].samples == 0:  # it draws none
            continue
        sampler = settle(model.sampler, preset=name, samples=2, coarse=coarse).sampler
        if sampler is not None and sampler not in found.values():
            found[name] = sampler
    return found


def reductions(dataset: Dataset, ids: Sequence[str]) -> list[int]:
    """The doses that every subject has, 100 for 1/100. Raises InputError if there is none."""
    common = set.intersection(*(set(dataset.doses(name)) for name in ids)) if ids else set()
    if not common:
        raise InputError("the subjects have no dose in common", "give --dose, or other data")
    return sorted(common)


def check_subjects(dataset: Dataset, ids: Sequence[str], model: ModelSpec) -> None:
    """Refuse, before any work, a data set that is not the model's. Raises InputError."""
    if model.network.denoiser is None:
        raise InputError(
            f"model '{model.name}' has no denoiser: it gives one image, not samples",
            "calibrate a model with one",
        )
    for axis, size, trained in zip("xyz", dataset.voxel_mm, model.domain.voxel_mm, strict=True):
        if abs(size / trained - 1) > SAME_VOXEL:
            raise InputError(
                f"the data set's voxels are {size:.3g} mm along {axis}, the model's {trained:.3g} mm",
                "prepare the data with --voxel-mm as the model has it",
            )
    if dataset.scale_rule != model.scale:
        raise InputError(
            f"the data set is scaled by '{dataset.scale_rule.kind}', the model by another rule "
            f"('{model.scale.kind}')",
            "prepare the data with the model's rule",
        )
    if not ids:
        raise InputError("the split has no subjects", "list some, or choose another --split")


def gather(
    reconstructor: Reconstructor,
    dataset: Dataset,
    name: str,
    dose: int,
    *,
    slab: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gathered:
    """Reconstruct subject ``name`` at 1/``dose``, the box of what is active: its voxels and regions.

    ``slab``: only so many neighbouring slices, from the middle.
    """
    pair = dataset.pair(name, dose)
    full = np.asarray(pair.full, np.float32) * np.float32(pair.gain)
    box = active_box(standard_mask(full), slab)
    labels = dataset.labels(name)
    tissue = None if labels is None else np.asarray(labels[box])
    x, y, z = dataset.voxel_mm
    low = np.asarray(pair.low[box], np.float32)
    return measured(reconstructor, name, dose, low, full[box], tissue, (z, x, y), progress)


def measured(
    reconstructor: Reconstructor,
    name: str,
    dose: int,
    low: Array,
    full: Array,
    tissue: NDArray[np.uint8] | None,
    voxel_mm: tuple[float, float, float],
    progress: Callable[[int, int], None] | None = None,
) -> Gathered:
    """The same of volumes ``low`` and ``full`` [Z, H, W] over the scale, with labels ``tissue`` or None, and
    ``voxel_mm`` along these axes."""
    mean, std, drawn = reconstructor.drawn_on_grid(low, dose=1 / dose, progress=progress)
    mask = standard_mask(full)
    regions, sizes = {}, []
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for kind, marked in region_maps(mask, tissue, voxel_mm, rng).items():
        if not marked.any():
            continue
        found = regions_of(marked, voxel_mm)
        samples = np.stack([found.measured(sample) for sample in drawn])
        statistics = (found.measured(mean), found.blurred(mean), samples, found.measured(full))
        regions[kind] = region_errors(name, found.ml, *statistics, 1 / dose)
        sizes += [float(found.ml.min()), float(found.ml.max())]
    return Gathered(
        name,
        dose,
        voxel_errors(name, mean, std, full, 1 / dose, mask),
        None if tissue is None else tissue.reshape(-1)[kept_voxels(mask)],
        regions,
        float(full.max()),
        (min(sizes, default=1.0), max(sizes, default=1.0)),
    )


def active_box(active: NDArray[np.bool_], slab: int | None) -> tuple[slice, ...]:
    """The box [Z, H, W] around ``active`` with a margin, of at most ``slab`` slices."""
    box = []
    for axis in range(3):
        line = np.flatnonzero(active.any(axis=tuple(a for a in range(3) if a != axis)))
        first = max(int(line[0]) - MARGIN, 0)
        last = min(int(line[-1]) + 1 + MARGIN, active.shape[axis])
        if axis == 0 and slab is not None and last - first > slab:
            first += (last - first - slab) // 2
            last = first + slab
        box.append(slice(first, last))
    return tuple(box)


def region_maps(
    active: NDArray[np.bool_],
    tissue: NDArray[np.uint8] | None,
    voxel_mm: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int64]]:
    """Kind -> label map: spheres of each size, named as "5 ml", around voxels of grey and white matter or,
    without labels, of all that is active; "lesion"; "tissue", that is grey and white matter and CSF."""
    centres = active
    if tissue is not None:
        centres = np.isin(tissue, (TISSUES["grey"], TISSUES["white"]))
    maps = {f"{ml:g} ml": sphere_labels(centres, ml, voxel_mm, rng) for ml in SPHERES_ML}
    if tissue is not None:
        maps[LESION] = lesion_labels(tissue == TISSUES[LESION])
        maps["tissue"] = np.where(tissue <= TISSUES["csf"], tissue, 0).astype(np.int64)
    return maps


def fit_samples(
    found: Sequence[Gathered], sampler: SamplerSpec, samples: int, level: float
) -> SamplesSpec:
    """The calibration of one sampler from subjects and doses that were run with it. Raises InputError."""
    voxels = [each.voxels for each in found]
    thin = [Errors(v.subject, v.error[::8], v.features[::8], v.names) for v in voxels]
    names = chosen(thin).names
    without = [name for name in varying(voxels) if name in INTENSITY]
    fits = {}
    for statistic in STATISTICS:
        parts = [kinds[statistic] for each in found for kinds in each.regions.values()]
        if not parts:
            raise InputError("no sphere fits into what is active", "give larger volumes")
        fits[statistic] = region_spec(covering(chosen(parts), parts, level))
    return SamplesSpec(
        sampler=sampler,
        samples=samples,
        map=map_spec(covering(fit(voxels, names), voxels, level)),
        intensity_only=map_spec(covering(fit(voxels, without), voxels, level)),
        **fits,
    )


def uncertainty(
    found: Sequence[Gathered], fits: Sequence[SamplesSpec], level: float
) -> UncertaintySpec:
    """What a bundle keeps of ``fits``, which were fitted to ``found`` or the same subjects and doses."""
    doses = [1 / each.dose for each in found]
    return UncertaintySpec(
        level=level,
        subjects=len({each.subject for each in found}),
        doses=(min(doses), max(doses)),
        volumes_ml=(min(each.ml[0] for each in found), max(each.ml[1] for each in found)),
        fits=tuple(fits),
    )


def judge(found: Sequence[Gathered], fitted: SamplesSpec, level: float) -> Record:
    """What ``fitted`` does on what was run with its sampler: dose -> voxels, regions by kind, statistic."""
    record: Record = {}
    for dose in sorted({each.dose for each in found}):
        here = [each for each in found if each.dose == dose]
        voxels = judge_voxels(
            of_map(fitted.map),
            of_map(fitted.intensity_only),
            [each.voxels for each in here],
            [each.tissue for each in here],
            [each.peak for each in here],
            TISSUES,
            level,
        )
        regions: Record = {}
        for kind in dict.fromkeys(kind for each in here for kind in each.regions):
            regions[kind] = {}
            for statistic in STATISTICS:
                parts = [e.regions[kind][statistic] for e in here if kind in e.regions]
                model = of_region(getattr(fitted, statistic))
                regions[kind][statistic] = judge_regions(model, parts, NAMES, level)
        record[f"1/{dose}"] = {"voxels": voxels, "regions": regions}
    return record
