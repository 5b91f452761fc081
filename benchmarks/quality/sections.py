"""The sections of the benchmark: which cases, which methods, and what becomes of the numbers."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.quality import calibration as quality_calibration
from benchmarks.quality import classical as quality_classical
from benchmarks.quality import lesions as quality_lesions
from benchmarks.quality import model as quality_model
from benchmarks.quality import phantom as quality_phantom
from benchmarks.quality import rows as quality_rows
from benchmarks.quality import samplers as quality_samplers
from benchmarks.quality import shortcuts as quality_shortcuts
from benchmarks.quality import strength as quality_strength
from benchmarks.quality import uncertainty as quality_uncertainty
from benchmarks.quality.cases import (
    QualityCase,
    Source,
    View,
    case_name,
    real,
    simulated,
    template_path,
)
from benchmarks.quality.domain import domain_record
from benchmarks.quality.figure import FULL
from benchmarks.quality.model import Settings
from benchmarks.quality.statistics import over_subjects, rounded
from benchmarks.quality.store import Arrays, Measured, Store
from petrt.errors import UsageError
from petrt.model.bundle import Bundle, load_bundle
from petrt.model.spec import SamplesSpec

Options = argparse.Namespace
Record = dict[str, Any]
Kept = dict[int, dict[str, Measured]]  # dose -> subject -> what was measured


REALISATIONS = 4  # of the counts of the one real brain


class Skipped(Exception):
    """A section that this machine has no data for."""


@dataclass(frozen=True)
class Cases:
    """Whose volumes: numbers of subjects, or of realisations of the noise, and their names."""

    source: Source
    numbers: range
    label: str

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return ((self.label.format(number), number) for number in self.numbers)


def simulated_cases(options: Options) -> Cases:
    """The simulated test subjects."""
    numbers = range(options.first, options.first + options.subjects)
    return Cases(simulated(options.subjects_dir), numbers, "sub-{:04d}")


def real_cases(options: Options) -> Cases:
    """The one real brain, several times through the scanner. Raises Skipped where it is absent."""
    path = template_path()
    if not path.is_file():
        raise Skipped(f"no {path.name}; set PETRT_DATA to its folder")
    return Cases(real(path), range(REALISATIONS), "noise-{}")


def rows(options: Options) -> Record:
    """The rows of Table 2, on simulated subjects at the dose they were trained on."""
    if options.rows is None:
        raise UsageError("the section rows needs the trained rows", "give --rows FOLDER")
    settings, cases = _settings(options), simulated_cases(options)
    bundles = quality_rows.load_rows(options.rows, options.work)
    record: Record = {"settings": _written(settings), "rows": {}}
    for name, bundle in bundles.items():
        key = {"model": weights_key(bundle), **_written(settings)}
        store = Store(options.work, f"row-{name}", key)

        def measure(case: QualityCase, bundle: Bundle = bundle) -> Measured:
            return quality_model.measure_row(bundle, case, settings)

        kept = _run(store, cases, (quality_rows.DOSE,), measure)
        record["rows"][name] = {**quality_rows.describe(name, bundle), **_tables(kept)}
    return record


def calibration(options: Options) -> Record:
    """Coverage and error by std, from the voxels that the section model kept."""
    bundle, store, settings = _opened(options, "model")
    kept: Kept = {}
    for dose in options.doses:
        for name, _ in simulated_cases(options):
            measured = store.get(case_name(name, dose))
            if measured is None:
                raise UsageError(
                    f"the section model has not measured {case_name(name, dose)}",
                    "run it with the same options first",
                )
            kept.setdefault(dose, {})[name] = measured
    return {"settings": settings, **quality_calibration.tables(bundle.model, kept, options.samples)}


def uncertainty(options: Options) -> Record:
    """Coverage of voxels and regions by the model's own calibration, for each sampler that has one."""
    bundle = load_bundle(options.model)
    fitted = bundle.model.uncertainty
    if fitted is None:
        raise Skipped(f"model '{bundle.model.name}' has none: petrt calibrate MODEL --data FOLDER")
    cases = simulated_cases(options)
    record: Record = {
        "settings": {
            "model": bundle.model.name,
            "level": fitted.level,
            "seed": options.seed,
            "fitted": fitted.model_dump(mode="json"),
        },
        "subjects": [name for name, _ in cases],
        "samplers": {},
    }
    for fit in fitted.fits:
        name = quality_uncertainty.name_of(fit)
        store = Store(
            options.work,
            "uncertainty",
            {
                "weights": weights_key(bundle),
                "sampler": name,
                "seed": options.seed,
                "features": quality_uncertainty.FEATURES,
            },
        )

        def measure(case: QualityCase, fit: SamplesSpec = fit) -> Measured:
            return quality_uncertainty.measure(bundle, fit, case, options.seed, options.threads)

        kept = _run(store, cases, options.doses, measure)
        record["samplers"][name] = quality_uncertainty.tables(fit, fitted.level, kept)
    return record


def domain(options: Options) -> Record:
    """What the noise tells of test subjects, and of what is none of the model's business."""
    cases = simulated_cases(options)
    model = load_bundle(options.model).model
    return domain_record(model, cases.source, cases.numbers, options.doses)


def figure_arrays(options: Options) -> Arrays:
    """Slices of the first subject at its lowest dose, of all methods that are kept.

    Those of the filters are cut to what the model was shown: the middle tells where that lies.
    """
    case = case_name(f"sub-{options.first:04d}", max(options.doses))
    kept = _opened(options, "model")[1].get(case)
    arrays: Arrays = dict(kept.arrays) if kept else {}
    for section in ("classical", "bm4d"):
        kept = _filters(options, section)[0].get(case)
        if kept and not arrays:
            arrays = dict(kept.arrays)
        elif kept:
            first = kept.arrays["middle"] - arrays["middle"]
            height, width = arrays[f"slice/{FULL}"].shape
            box = slice(first[0], first[0] + height), slice(first[1], first[1] + width)
            slices = {k: v[box] for k, v in kept.arrays.items() if k.startswith("slice/")}
            arrays = slices | arrays
    return arrays


def filters(options: Options, section: str, cases: Cases) -> Record:
    """Low dose, best Gaussian and non-local means; or BM4D, apart, for it takes minutes a volume."""
    store, settings = _filters(options, section)
    measure = quality_classical.measure
    if section.endswith("bm4d"):
        settings["bm4d"] = quality_classical.need_bm4d()
        measure = quality_classical.measure_bm4d
    return {"settings": settings, **_tables(_run(store, cases, options.doses, measure))}


def _filters(options: Options, section: str) -> tuple[Store, Record]:
    """Where the filters' cases are kept, and what is written of them."""
    settings: Record = {"view": str(View())}
    if section.endswith("bm4d"):
        settings["strengths"] = quality_classical.BM4D_STRENGTHS
    return Store(options.work, section, settings), settings


def samplers(options: Options) -> Record:
    """Samplers in fewer steps and samples beside the model's own, on simulated subjects, and their times.

    The whole curve at the first of the doses, the presets alone at the others.
    """
    bundle, _, written = _opened(options, "samplers")
    settings, cases = _settings(options), simulated_cases(options)
    own, many = bundle.model.sampler, settings.samples
    whole, few = quality_samplers.curve(own, many), quality_samplers.presets(own, many)
    store = Store(options.work, "samplers", {**written, "curve": [each.name for each in whole]})

    def measure(case: QualityCase) -> Measured:
        chosen = whole if case.dose == options.doses[0] else few
        return quality_samplers.measure(bundle, case, settings, chosen)

    kept = _run(store, cases, options.doses, measure)

    def timing() -> Measured:
        case = cases.source(cases.numbers[0], options.doses[0])
        return quality_samplers.timing(bundle, case, settings)

    times = store.measured("timing", timing)
    return {"settings": written, **_tables(kept), "seconds": times.notes}


def shortcuts(options: Options) -> Record:
    """Late start and reuse of features beside all steps and one, with what their samples say of regions."""
    bundle, store, written = _opened(options, "shortcuts")
    settings, cases = _settings(options), simulated_cases(options)
    own = bundle.model.sampler

    def measure(case: QualityCase) -> Measured:
        return quality_shortcuts.measure(bundle, case, settings)

    def timing() -> Measured:
        case = cases.source(cases.numbers[0], options.doses[0])
        return quality_shortcuts.timing(bundle, case, settings)

    kept = _run(store, cases, options.doses[:1], measure)
    times = store.measured("timing", timing)
    written["ways"] = [each.name(own) for each in quality_shortcuts.ways(own)]
    return {"settings": written, **_tables(kept), "seconds": times.notes}


def strength(options: Options) -> Record:
    """What each strength does to noise and contrast, of the default preset and the coarse prediction."""
    bundle, store, written = _opened(options, "strength")
    settings = _settings(options)

    def measure(case: QualityCase) -> Measured:
        return quality_strength.measure(bundle, case, settings)

    return {
        "settings": written,
        **_tables(_run(store, simulated_cases(options), options.doses, measure)),
    }


def model(options: Options, section: str, cases: Cases) -> Record:
    """The model's methods."""
    bundle, store, written = _opened(options, section)
    plain = load_bundle(options.plain) if options.plain else None
    settings = _settings(options)

    def measure(case: QualityCase) -> Measured:
        return quality_model.measure(bundle, plain, case, settings)

    return {"settings": written, **_tables(_run(store, cases, options.doses, measure))}


def phantom(options: Options) -> Record:
    """The NEMA phantom at each dose and strength, beside Gaussian filters, and BM4D where it is installed."""
    return quality_phantom.report(options)


def lesions(options: Options) -> Record:
    """Lesions that are made up or lost, by dose, in brains of which the lesions are known."""
    bundle = load_bundle(options.model)
    settings = {"weights": weights_key(bundle), "samples": options.samples, "seed": options.seed}
    store = Store(options.work, "lesions", settings)
    run = quality_phantom.reconstructor(options)
    made: Record = {"settings": {"model": bundle.model.name, **settings}, "doses": {}}
    for dose in options.doses:
        kept = {}
        for number in range(options.brains):

            def measure(number: int = number, dose: int = dose) -> Measured:
                return quality_lesions.measure(number, dose, run)

            kept[str(number)] = store.measured(case_name(f"brain-{number:04d}", dose), measure)
        made["doses"][f"1/{dose}"] = quality_lesions.record(kept)
    return made


def _opened(options: Options, section: str) -> tuple[Bundle, Store, Record]:
    """The model, where its cases are kept, and what is written of it."""
    bundle = load_bundle(options.model)
    spec = bundle.model
    plain = weights_key(load_bundle(options.plain)) if options.plain else None
    settings = {
        "weights": weights_key(bundle),
        "plain": plain,
        **_written(_settings(options)),
        "sampler": spec.sampler.model_dump(),
    }
    return bundle, Store(options.work, section, settings), {"model": spec.name, **settings}


def _run(
    store: Store, cases: Cases, doses: tuple[int, ...], measure: Callable[[QualityCase], Measured]
) -> Kept:
    """Every case, measured now or before."""
    kept: Kept = {dose: {} for dose in doses}
    for name, number in cases:  # all doses of a subject, so that a run cut short has whole subjects
        for dose in doses:

            def measure_case(number: int = number, dose: int = dose) -> Measured:
                return measure(cases.source(number, dose))

            kept[dose][name] = store.measured(case_name(name, dose), measure_case)
    return kept


def _tables(kept: Kept) -> Record:
    """Values of every subject, and mean and standard deviation, by dose, method and metric."""
    subjects = list(next(iter(kept.values())))
    values: Record = {}
    means: Record = {}
    notes: Record = {}
    for dose, cases in kept.items():
        at = f"1/{dose}"
        values[at], means[at] = {}, {}
        notes[at] = {subject: measured.notes for subject, measured in cases.items()}
        for method, numbers in next(iter(cases.values())).methods.items():
            columns = {
                key: {s: cases[s].methods[method].get(key) for s in subjects} for key in numbers
            }
            values[at][method] = {
                key: [rounded(v) for v in column.values()] for key, column in columns.items()
            }
            summaries = {key: over_subjects(column) for key, column in columns.items()}
            means[at][method] = {
                key: [rounded(s.mean), rounded(s.sd)] for key, s in summaries.items() if s
            }
    return {"subjects": subjects, "mean_sd": means, "values": values, "notes": notes}


def _settings(options: Options) -> Settings:
    every = options.every * (len(options.doses) if len(options.every) == 1 else 1)
    if len(every) != len(options.doses):
        raise UsageError(
            "--every and --doses differ in number", "give one --every, or one per dose"
        )
    views = {d: View(head=options.head, every=n) for d, n in zip(options.doses, every, strict=True)}
    return Settings(options.samples, options.seed, options.threads, views)


def _written(settings: Settings) -> Record:
    views = {f"1/{dose}": str(view) for dose, view in settings.views.items()}
    return {"samples": settings.samples, "seed": settings.seed, "view": views}


def weights_key(bundle: Bundle) -> str:
    """What fixes the images of a model: its files and specification, without calibration and words."""
    spec = bundle.model.model_dump(
        mode="json", exclude={"calibration", "uncertainty", "name", "description", "label", "card"}
    )
    hashes = {name: entry.sha256 for name, entry in bundle.manifest.files.items()}
    hashes.pop("golden.safetensors", None)
    text = json.dumps([spec, hashes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


SECTIONS: dict[str, Callable[[Options], Record]] = {
    "classical": lambda options: filters(options, "classical", simulated_cases(options)),
    "bm4d": lambda options: filters(options, "bm4d", simulated_cases(options)),
    "model": lambda options: model(options, "model", simulated_cases(options)),
    "samplers": samplers,
    "shortcuts": shortcuts,
    "strength": strength,
    "calibration": calibration,
    "uncertainty": uncertainty,
    "domain": domain,
    "rows": rows,
    "phantom": phantom,
    "lesions": lesions,
    "real-classical": lambda options: filters(options, "real-classical", real_cases(options)),
    "real-bm4d": lambda options: filters(options, "real-bm4d", real_cases(options)),
    "real-model": lambda options: model(options, "real-model", real_cases(options)),
}
