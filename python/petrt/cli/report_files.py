"""Finds the files of the cases that petrt report shows: inputs, outputs, what lies beside them, records."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from petrt.cli.find import each_series, find, is_one_dicom
from petrt.cli.outcome import DONE, FAILED, WAITING, Outcome
from petrt.cli.plan import output_name
from petrt.cli.table import rows_of
from petrt.errors import InputError, UsageError
from petrt.files.json_text import parsed
from petrt.files.names import shown

logger = logging.getLogger("petrt")

# The files of petrt demo by the volumes that they hold.
DEMO = {"input": "low", "output": "output", "std": "std", "reference": "full"}
# Bytes of a record, which has a few thousand; a foreign JSON file may have any number.
MOST_BYTES = 1 << 24
# Options, and how a file of a case is called in the folder that one names for several cases.
OPTIONS = {
    "std": ("--std", ("_std.nii.gz", "_std")),
    "coarse": ("--coarse", ("_coarse.nii.gz", "_coarse")),
    "reference": ("--reference", (".nii.gz", ".nii", "")),
    "labels": ("--labels", (".nii.gz", ".nii")),
    "record": ("--json", (".json",)),
}


@dataclass(frozen=True)
class Files:
    """The files of one case. ``record``: that of the run, as an option names it. ``series``: the UID of the
    input, where it has several series. ``row``: what the table of a run says of the case. ``named``: the
    volumes that options name; the others lay beside the output.
    """

    input: Path
    output: Path
    std: Path | None = None
    coarse: Path | None = None
    reference: Path | None = None
    labels: Path | None = None
    record: Path | None = None
    series: str | None = None
    row: Outcome | None = None
    named: frozenset[str] = frozenset()

    @property
    def volumes(self) -> dict[str, Path]:
        """The volumes that there are, by name."""
        names = ("input", "output", "std", "coarse", "reference", "labels")
        each = {name: getattr(self, name) for name in names}
        return {name: path for name, path in each.items() if path is not None}


@dataclass(frozen=True)
class Cohort:
    """The cases of a run; ``failed``: rows of those that have no output. ``several``: their pages go into a
    folder."""

    cases: Sequence[Files]
    failed: Sequence[Outcome]
    several: bool


def find_cases(
    paths: Sequence[Path], given: Mapping[str, Path | None], series: Sequence[str] | None = None
) -> Cohort:
    """The cases of IN and RUN, or of RUN alone.

    ``given``: the paths of OPTIONS by their names, files of a single case or folders of several. ``series``:
    UIDs of those that are meant of a DICOM input. Raises InputError and UsageError.
    """
    for path in (*paths, *(each for each in given.values() if each is not None)):
        if not path.exists():
            raise InputError(f"{shown(path)}: no such file", "check the path")
    found = _of_run(paths[0]) if len(paths) == 1 else _of_both(paths[0], paths[1], series)
    cases = list(found.cases)
    for name, own in given.items():
        if own is not None and found.several:
            cases = _with_each(cases, name, own)
        elif own is not None:
            cases = [_with(cases[0], name, own)]
    return replace(found, cases=cases)


def _of_run(run: Path) -> Cohort:
    """The cases of a folder that knows its inputs: that of petrt demo, or one with the table of a run."""
    demo: dict[str, Any] = {role: run / f"{name}.nii.gz" for role, name in DEMO.items()}
    if all(path.is_file() for path in demo.values()):
        return Cohort([Files(**demo)], (), False)
    rows = tables_in(run)
    cases = [_placed(run, row) for row in rows if _is_placed(row)]
    there = [case for case in cases if case.output.exists()]
    if not there:
        raise UsageError(
            f"{shown(run)}: not a folder of petrt demo, and no cases.json in it tells where the inputs are",
            "name them, too: petrt report IN RUN",
        )
    if absent := sum(not case.input.exists() for case in there):
        raise InputError(
            f"{absent} of {len(there)} inputs are not where the run found them",
            "name them: petrt report IN RUN",
        )
    _tell_absent(len(rows) - len(there), len(rows))
    return Cohort(there, [row for row in rows if row.outcome == FAILED], True)


def _is_placed(row: Outcome) -> bool:
    return row.outcome == DONE and {"input", "image"} <= {*row.paths}


def _placed(folder: Path, row: Outcome, source: Path | None = None) -> Files:
    """The case of a row of the table in ``folder``; ``source``: its input, where that has moved."""
    here = Path(os.path.realpath(folder))
    paths = {role: here / path for role, path in row.paths.items()}
    found = _beside_output(source or paths["input"], paths["image"])
    # A Parametric Map (.dcm) is for viewers; petrt does not read it.
    own: dict[str, Any] = {
        role: paths[role]
        for role in ("std", "coarse")
        if role in paths and paths[role].suffix != ".dcm" and paths[role].exists()
    }
    return replace(found, series=row.series, row=row, **own)


def _of_both(source: Path, run: Path, series: Sequence[str] | None) -> Cohort:
    rows = tables_in(run)
    if not run.is_dir() or (is_one_dicom(run) and not rows):  # several derived series are a run
        sources, uids = each_series([source], series, False)
        if len(sources) > 1:
            raise UsageError(f"{len(sources)} --series are given", "give that of RUN")
        return Cohort([replace(_beside_output(source, run), series=uids[0])], (), False)
    sources, several = find([source])
    cases: list[Files] = []
    absent = 0
    for each in sources:
        own = [row for row in rows if row.name == shown(each) and _is_placed(row)]
        found = [_placed(run, row, each) for row in own] or _in_folder(each, run)
        there = [case for case in found if case.output.exists()]
        absent += not there
        cases += there
    if not cases:
        raise InputError(
            f"{shown(run)}: no output of {shown(source)} is in it", "check the folders"
        )
    _tell_absent(absent, len(sources))
    names = {shown(each) for each in sources}
    failed = [row for row in rows if row.outcome == FAILED and row.name in names]
    return Cohort(cases, failed, several or len(cases) > 1)


def _tell_absent(absent: int, count: int) -> None:
    if absent:
        logger.warning("warning: %d of %d inputs have no output", absent, count)


def _in_folder(source: Path, run: Path) -> list[Files]:
    """The case of an input whose output lies in the folder ``run``, under the name that petrt gives it."""
    output = _named(source, None, run, (".nii.gz", ""))
    return [] if output is None or output == run else [_beside_output(source, output)]


def _beside_output(source: Path, output: Path) -> Files:
    """An input and its output with the maps that lie beside that."""
    stem = _stem(output)

    def there(name: str) -> Path | None:
        paths = (output.parent / f"{stem}{ending}" for ending in OPTIONS[name][1])
        return next((path for path in paths if path.exists()), None)

    return Files(source, output, there("std"), there("coarse"))


def _stem(output: Path) -> str:
    return output.name.removesuffix(".gz").removesuffix(".nii")


def _with(case: Files, name: str, path: Path | None) -> Files:
    if path is None:
        return case
    known: dict[str, Any] = {name: path}
    return replace(case, named=case.named | {name}, **known)


def _with_each(cases: Sequence[Files], name: str, folder: Path) -> list[Files]:
    """The cases with their files in a ``folder``. Raises UsageError for a file, InputError if it has none."""
    option, endings = OPTIONS[name]
    if not folder.is_dir():
        raise UsageError(
            f"several cases: {option} must be a folder, {shown(folder)} is a file",
            "report a case alone, or name the folder of all",
        )
    found = [_named(case.input, case.series, folder, endings) for case in cases]
    absent = sum(path is None for path in found)
    if absent == len(cases):
        raise InputError(
            f"{option} {shown(folder)}: no file in it has the name of an input",
            f"name them after their inputs: NAME{endings[0]}",
        )
    if absent:
        logger.warning("warning: %s: %d of %d cases have none", option, absent, len(cases))
    return [_with(case, name, path) for case, path in zip(cases, found, strict=True)]


def _named(source: Path, series: str | None, folder: Path, endings: Sequence[str]) -> Path | None:
    """What is called after the input ``source`` or its ``series`` in ``folder``, with one of the endings."""
    names = [output_name(source, e, uid) for uid in dict.fromkeys((series, None)) for e in endings]
    return next((folder / name for name in names if (folder / name).exists()), None)


def tables_in(folder: Path) -> list[Outcome]:
    """The rows of the tables of runs in ``folder``, also of their parts. Of a case those of the newest table
    that tells how it ended, else of one in which it waits."""
    paths = [path for path in folder.glob("*.json") if path.with_suffix(".tsv").is_file()]
    paths.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    tables = [rows_of(path) or [] for path in paths]
    rows: list[Outcome] = []
    for waits in (False, True):
        for table in tables:
            told = {row.name for row in rows}
            rows += [r for r in table if (r.outcome == WAITING) == waits and r.name not in told]
    return rows


def run_in(path: Path) -> dict[str, Any] | None:
    """The record of a run in a JSON file: the record itself, or within the numbers of petrt demo or a sidecar
    of BIDS; None for any other file."""
    from petrt.evaluation.report.record import is_record

    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
        content = parsed(path.read_bytes())
    except (OSError, ValueError):
        return None
    parts = (content, content.get("run"), content.get("petrt")) if isinstance(content, dict) else ()
    return next((part for part in parts if is_record(part)), None)


def record_of(files: Files, hashes: Mapping[str, str]) -> dict[str, Any]:
    """The record of the run that made the output, from its own file, or from a table; {} where none is known.

    Only a record with the hashes of the input and the output as they are, ``hashes``, counts. Raises
    InputError for another that an option names.
    """
    if files.record is not None:
        found = run_in(files.record)
        if found is None:
            raise InputError(
                f"{shown(files.record)}: no record of a run, or one without hashes",
                "name that of the run with --json, or none",
            )
        if not _is_of(found, hashes):
            raise InputError(
                f"{shown(files.record)}: the record of another input or output",
                "name the record of this run with --json",
            )
        return found
    beside = (f"{_stem(files.output)}.json", "demo.json")
    known = [run_in(files.output.parent / name) for name in beside]
    known += [row.record() for row in _rows_of(files)]
    return next((each for each in known if each and _is_of(each, hashes)), {})


def _rows_of(files: Files) -> Iterable[Outcome]:
    return tables_in(files.output.parent) if files.row is None else [files.row]


def _is_of(record: Mapping[str, Any], hashes: Mapping[str, str]) -> bool:
    from petrt.evaluation.report.record import is_record

    if not is_record(record):
        return False
    told = record["hashes"]
    return (told["input"], told["outputs"].get("image")) == (hashes["input"], hashes["output"])
