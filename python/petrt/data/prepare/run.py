"""Prepares a data set: finds subjects, writes their volumes, draws the splits, writes the index."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from petrt.data.index import INDEX, SPLITS, DatasetIndex
from petrt.data.prepare import cache, splits
from petrt.data.prepare.crop import Box
from petrt.data.prepare.outcome import Outcome, Refusal
from petrt.data.prepare.scan import FULL, FoundScan, Reading
from petrt.data.prepare.sources import Layout, find, load
from petrt.data.prepare.subject import Job, Settings, nameless
from petrt.data.prepare.summary import SUMMARY, summary
from petrt.errors import InputError, UsageError, called
from petrt.files.atomic import atomic_write_bytes, atomic_write_json
from petrt.files.names import shown
from petrt.hardware.processes import in_workers
from petrt.imaging.grid import Size3
from petrt.model.spec import ScaleRule
from petrt.values import MOST, MOST_SEED, MOST_WORKERS, sizes, whole

logger = logging.getLogger(__name__)

# More scans than this with one patient ID, or all scans of several, mean a placeholder ID.
MOST_SCANS = 5
ALL_ALIKE = 3
# Different reasons quoted if no full-dose volume can be read.
QUOTED = 3


@dataclass(frozen=True)
class Options:
    """Options of ``prepare``.

    ``voxel_mm``: voxel size of the model grid along canonical x, y, z; None: the first subject's. ``split``:
    fractions of train, validation and test patients, drawn with ``seed``; None: the source's own splits, or
    0.8, 0.1, 0.1. ``split_file``: a CSV ``subject,split`` instead. ``doses``: only these reductions.
    ``crop``: the part to keep (petrt.data.prepare.crop). ``reading``: what is let through in the files.
    ``strict``: one refused pair refuses the data set. ``exclude``: a list of names to leave out.
    ``keep_known``: keep also cases known to be mislabelled (petrt.data.prepare.known). ``metadata``: a
    table of NIfTI files (petrt.data.prepare.metadata).
    """

    layout: Layout = "auto"
    voxel_mm: Size3 | None = None
    dtype: cache.Dtype = "float16"
    rule: ScaleRule = field(default_factory=ScaleRule)
    split: splits.Fractions | None = None
    seed: int = 0
    split_file: Path | None = None
    doses: tuple[int, ...] | None = None
    crop: Box | None = None
    reading: Reading = field(default_factory=Reading)
    workers: int = 1
    strict: bool = False
    overwrite: bool = False
    exclude: Path | None = None
    keep_known: bool = False
    metadata: Path | None = None


@dataclass(frozen=True)
class Report:
    """The result: the index as written, the split of each id, and all outcomes in order of ids."""

    out: Path
    index: DatasetIndex
    split_of: dict[str, str]
    outcomes: tuple[Outcome, ...]

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Every refused pair and subject."""
        return tuple(each for outcome in self.outcomes for each in outcome.refused)


def prepare(
    sources: Sequence[Path],
    out: Path,
    options: Options | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Prepare the subjects of ``sources`` (layouts: petrt.data.prepare.sources) in the folder ``out``.

    The folder appears complete or not at all; two calls at a time do not write one folder. Subjects
    finished in an interrupted run are kept in ``<out>.partial`` for the next run. ``progress`` is called
    with (done, total) subjects. Volumes that are not a pair are refused; the report and the summary list
    them. Raises UsageError for ``out``, and InputError for a source that contradicts itself, if no subject
    is left, and with ``strict`` for any refusal.
    """
    options = options or Options()
    options = replace(
        options,
        voxel_mm=None if options.voxel_mm is None else sizes("voxel_mm", options.voxel_mm),
        workers=whole("workers", options.workers, 1, MOST_WORKERS),
        seed=whole("seed", options.seed, 0, MOST_SEED),
        doses=options.doses and tuple(whole("doses", dose, 2, MOST) for dose in options.doses),
    )
    _keep_sources(sources, out)
    subjects = find(
        sources,
        options.layout,
        exclude=options.exclude,
        known=not options.keep_known,
        metadata=options.metadata,
    )
    given = _given_splits(subjects, options)
    with cache.begun(out, overwrite=options.overwrite) as partial:
        settings = Settings(
            voxel_mm=options.voxel_mm or _first_voxel_mm(subjects, options.reading),
            dtype=options.dtype,
            rule=options.rule,
            doses=None if options.doses is None else tuple(sorted(set(options.doses))),
            crop=options.crop,
            reading=options.reading,
        )
        job = Job(partial, settings, cache.salt(partial))
        outcomes = []
        for outcome in in_workers(job, [*subjects.items()], options.workers):
            for refusal in outcome.refused:
                logger.warning("refused: %s", refusal.line)
            outcomes.append(outcome)
            if progress:
                progress(len(outcomes), len(subjects))
        outcomes.sort(key=lambda outcome: outcome.name)
        report = _report(out, settings, subjects, outcomes, given, options)
        _write(partial, report)
        return report


def _keep_sources(sources: Sequence[Path], out: Path) -> None:
    """Raise UsageError if writing ``out`` would replace a source."""
    for source in sources:
        target = source.resolve()
        if out.resolve() == target or out.resolve() in target.parents:
            raise UsageError(
                f"{shown(out)}: the output is or holds a source", "choose another folder"
            )


def _given_splits(subjects: Mapping[str, FoundScan], options: Options) -> dict[str, str] | None:
    """Id -> split from the split file or the source; None if the splits are to be drawn."""
    if options.split_file is not None:
        if options.split is not None:
            raise UsageError(
                f"both {called('split')} and {called('split_file')} are given", "give one of them"
            )
        return splits.read_split_file(options.split_file, subjects)
    if options.split is not None:
        return None
    given = {ident: found.split for ident, found in subjects.items() if found.split}
    if given and len(given) < len(subjects):
        missing = next(ident for ident in subjects if ident not in given)
        raise InputError(
            f"{missing} has no split, others have", "give all subjects a split, or none"
        )
    return given or None


def _first_voxel_mm(subjects: Mapping[str, FoundScan], reading: Reading) -> Size3:
    """Voxel size along canonical x, y, z of the first full-dose volume that can be read.

    Raises InputError with the first reasons if none can.
    """
    from petrt.imaging.grid import plan

    reasons: dict[str, tuple[str, str]] = {}  # reason -> the first subject with it, and what to do
    for name, found in subjects.items():
        reasons |= {text: (name, "") for text in found.problems if text not in reasons}
        for scan in found.scans:
            if scan.dose != FULL:
                continue
            try:
                with nameless(scan.path, name):
                    loaded = load(scan.path, reading=reading)
                sizes = plan(loaded.data.shape, loaded.affine).voxel_mm
            except InputError as error:
                reasons.setdefault(error.message, (name, error.hint))
                continue
            assert sizes is not None
            x, y, z = (round(size, 4) for size in sizes)
            return x, y, z
    first = [f"{name}: {text}" for text, (name, _) in [*reasons.items()][:QUOTED]]
    if more := len(reasons) - QUOTED:
        first += [f"and {more} more reasons"] if more > 0 else []
    hints = dict.fromkeys(hint for _, hint in [*reasons.values()][:QUOTED] if hint)
    raise InputError(
        ": ".join(filter(None, ("no full-dose volume can be read", ", ".join(first)))),
        "; ".join(hints) or "check the source and its layout",
    )


def _report(
    out: Path,
    settings: Settings,
    subjects: Mapping[str, FoundScan],
    outcomes: Sequence[Outcome],
    given: Mapping[str, str] | None,
    options: Options,
) -> Report:
    """The index and the splits of all subjects that were not refused."""
    refused = [each for outcome in outcomes for each in outcome.refused]
    entries = {o.name: o.entry for o in outcomes if o.entry is not None}
    if not entries or (options.strict and refused):
        why = f"{len(refused)} refused (--strict)" if entries else "no pair is left"
        raise InputError(f"{why}: {refused[0].line}", "correct the source; nothing is written")
    patients = splits.groups(_patient_keys(subjects, outcomes))
    if given is None:
        shares = options.split or splits.DEFAULT
        split_of = splits.draw(patients, shares, options.seed)
        for split, share in zip(SPLITS, shares, strict=True):
            if share and split not in split_of.values():
                logger.warning("too few patients: none is for %s", split)
    else:
        split_of = {name: given[name] for name in entries}
        splits.check(split_of, patients)
    index = DatasetIndex(
        dtype=settings.dtype,
        scale_rule=settings.rule,
        voxel_mm=settings.voxel_mm,
        subjects={
            name: entry.model_copy(update={"patient": patients[name]})
            for name, entry in entries.items()
        },
    )
    return Report(out, index, split_of, tuple(outcomes))


def _patient_keys(
    subjects: Mapping[str, FoundScan], outcomes: Sequence[Outcome]
) -> dict[str, list[str]]:
    """Id of each usable subject -> keys of its patient: the source's name, and the files' own key."""
    used = [outcome for outcome in outcomes if outcome.entry is not None]
    count = Counter(outcome.patient for outcome in used if outcome.patient)
    common = {
        key for key, n in count.items() if n > MOST_SCANS or (n == len(used) and n >= ALL_ALIKE)
    }
    for key in common:
        logger.warning(
            "%d subjects share one patient ID, a placeholder: their folders identify the patient",
            count[key],
        )
    keys = {}
    for outcome in used:
        found = subjects[outcome.name]
        keys[outcome.name] = [f"{found.kind} {found.patient}"]
        if outcome.patient and outcome.patient not in common:
            keys[outcome.name].append(outcome.patient)
    return keys


def _write(partial: Path, report: Report) -> None:
    """Write splits, summary and index, then rename the folder."""
    for split in SPLITS:
        names = [name for name in report.index.subjects if report.split_of[name] == split]
        content = "".join(f"{name}\n" for name in names).encode()
        atomic_write_bytes(partial / f"{split}.txt", content, overwrite=True)
    atomic_write_bytes(
        partial / SUMMARY,
        summary(partial, report.index, report.split_of, report.outcomes),
        overwrite=True,
    )
    atomic_write_json(partial / INDEX, report.index.model_dump(mode="json"), overwrite=True)
    entries = report.index.subjects.values()
    keep = {file.file for entry in entries for file in entry.arrays().values()}
    cache.publish(partial, report.out, keep)
