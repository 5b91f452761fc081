"""Finds the files of the cases that petrt report shows: inputs, outputs, what lies beside them, records."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from petrt.cli.find import find, is_one_dicom
from petrt.cli.outcome import DONE, Outcome
from petrt.cli.plan import output_name
from petrt.cli.table import rows_of
from petrt.errors import InputError, UsageError
from petrt.files.names import shown

logger = logging.getLogger("petrt")

# The files of petrt demo by the volumes that they hold.
DEMO = {"input": "low", "output": "output", "std": "std", "reference": "full"}
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
    """The files of one case; ``record``: that of the run; ``series``: the UID of the input, where it has
    several series."""

    input: Path
    output: Path
    std: Path | None = None
    coarse: Path | None = None
    reference: Path | None = None
    labels: Path | None = None
    record: Path | None = None
    series: str | None = None

    @property
    def volumes(self) -> dict[str, Path]:
        """The volumes that there are, by name."""
        names = ("input", "output", "std", "coarse", "reference", "labels")
        each = {name: getattr(self, name) for name in names}
        return {name: path for name, path in each.items() if path is not None}


def find_cases(paths: Sequence[Path], given: Mapping[str, Path | None]) -> tuple[list[Files], bool]:
    """The cases of IN and RUN, or of RUN alone, and whether their pages go into a folder.

    ``given``: the paths of OPTIONS by their names, files of a single case or folders of several. Raises
    InputError and UsageError.
    """
    for path in (*paths, *(each for each in given.values() if each is not None)):
        if not path.exists():
            raise InputError(f"{shown(path)}: no such file", "check the path")
    cases, several = _of_run(paths[0]) if len(paths) == 1 else _of_both(*paths)
    for name, own in given.items():
        if own is not None and several:
            cases = _with_each(cases, name, own)
        elif own is not None:
            cases = [_with(cases[0], name, own)]
    return cases, several


def _of_run(run: Path) -> tuple[list[Files], bool]:
    """The cases of a folder that knows its inputs: that of petrt demo, or one with the table of a run."""
    demo: dict[str, Any] = {role: run / f"{name}.nii.gz" for role, name in DEMO.items()}
    if all(path.is_file() for path in demo.values()):
        return [Files(**demo, record=run / "demo.json")], False
    rows = [row for row in tables_in(run) if row.outcome == DONE and "image" in row.paths]
    cases = [_placed(run, row) for row in rows if (run / row.paths["image"]).exists()]
    if not cases:
        raise UsageError(
            f"{shown(run)}: not a folder of petrt demo, and no cases.json in it tells where the inputs are",
            "name them, too: petrt report IN RUN",
        )
    if absent := sum(not case.input.exists() for case in cases):
        raise InputError(
            f"{absent} of {len(cases)} inputs are not where the run found them",
            "name them: petrt report IN RUN",
        )
    return cases, True


def _placed(folder: Path, row: Outcome) -> Files:
    """The case of a row of the table in ``folder``."""
    paths = {role: folder / path for role, path in row.paths.items()}
    found = _beside_output(paths["input"], paths["image"])
    # A Parametric Map (.dcm) is for viewers; petrt does not read it.
    own: dict[str, Any] = {
        role: paths[role]
        for role in ("std", "coarse")
        if role in paths and paths[role].suffix != ".dcm" and paths[role].exists()
    }
    return replace(found, series=row.series, **own)


def _of_both(source: Path, run: Path) -> tuple[list[Files], bool]:
    if not run.is_dir() or is_one_dicom(run):
        return [_beside_output(source, run)], False
    sources, several = find([source])
    cases = [case for each in sources if (case := _in_folder(each, run)) is not None]
    if not cases:
        raise InputError(
            f"{shown(run)}: no output of {shown(source)} is in it", "check the folders"
        )
    if len(cases) < len(sources):
        logger.warning(
            "warning: %d of %d inputs have no output", len(sources) - len(cases), len(sources)
        )
    return cases, several


def _in_folder(source: Path, run: Path) -> Files | None:
    """The case of an input whose output lies in the folder ``run``, under the name that petrt gives it."""
    output = _named(source, run, (".nii.gz", ""))
    return None if output is None or output == run else _beside_output(source, output)


def _beside_output(source: Path, output: Path) -> Files:
    """An input and its output with what lies beside that."""
    stem = output.name.removesuffix(".gz").removesuffix(".nii")

    def there(name: str) -> Path | None:
        paths = (output.parent / f"{stem}{ending}" for ending in OPTIONS[name][1])
        return next((path for path in paths if path.exists()), None)

    record = there("record")
    known = None if record is None or run_in(record) is None else record
    return Files(source, output, there("std"), there("coarse"), record=known)


def _with(case: Files, name: str, path: Path | None) -> Files:
    known: dict[str, Any] = {} if path is None else {name: path}
    return replace(case, **known)


def _with_each(cases: Sequence[Files], name: str, folder: Path) -> list[Files]:
    """The cases with their files in a ``folder``. Raises UsageError for a file, InputError if it has none."""
    option, endings = OPTIONS[name]
    if not folder.is_dir():
        raise UsageError(
            f"several cases: {option} must be a folder, {shown(folder)} is a file",
            "report a case alone, or name the folder of all",
        )
    found = [_named(case.input, folder, endings) for case in cases]
    absent = sum(path is None for path in found)
    if absent == len(cases):
        raise InputError(
            f"{option} {shown(folder)}: no file in it has the name of an input",
            f"name them after their inputs: NAME{endings[0]}",
        )
    if absent:
        logger.warning("warning: %s: %d of %d cases have none", option, absent, len(cases))
    return [_with(case, name, path) for case, path in zip(cases, found, strict=True)]


def _named(source: Path, folder: Path, endings: Sequence[str]) -> Path | None:
    """What is called after the input ``source`` in ``folder``, with one of ``endings``."""
    paths = (folder / output_name(source, ending, None) for ending in endings)
    return next((path for path in paths if path.exists()), None)


def tables_in(folder: Path) -> list[Outcome]:
    """The rows of all tables of runs in ``folder``, also of their parts."""
    return [row for path in sorted(folder.glob("*.json")) for row in rows_of(path) or ()]


def run_in(path: Path) -> dict[str, Any] | None:
    """The record of a run in a JSON file: the record itself, or within the numbers of petrt demo or a sidecar
    of BIDS; None for any other file."""
    try:
        content = json.loads(path.read_bytes())
        found = next(
            part for part in (content, content.get("run"), content.get("petrt")) if _is_record(part)
        )
    except (OSError, ValueError, AttributeError, StopIteration):
        return None
    return dict(found)


def _is_record(part: Any) -> bool:
    return isinstance(part, dict) and "frames" in part and "model" in part


@dataclass(frozen=True)
class Records:
    """What is known of runs: by the records of cases, and by the tables that lie beside outputs."""

    _rows: dict[Path, list[Outcome]] = field(default_factory=dict)

    def of(self, files: Files, hashes: Mapping[str, str]) -> dict[str, Any]:
        """The record of the run that made the output; {} where none is known. ``hashes``: of the input and
        the output as they are. Raises InputError for a record of another input or output."""
        if files.record is not None:
            return self._own(files.record, hashes)
        folder = files.output.parent
        if folder not in self._rows:
            self._rows[folder] = tables_in(folder)
        for row in self._rows[folder]:
            if (row.input_sha256, row.outputs.get("image")) == (hashes["input"], hashes["output"]):
                return row.record()
        return {}

    def _own(self, path: Path, hashes: Mapping[str, str]) -> dict[str, Any]:
        found = run_in(path)
        if found is None:
            raise InputError(f"{shown(path)}: no record of a run", "name that of the run, or none")
        told = found.get("hashes", {})
        pairs = (
            (told.get("input"), hashes["input"]),
            (told.get("outputs", {}).get("image"), hashes["output"]),
        )
        if any(known and known != now for known, now in pairs):
            raise InputError(
                f"{shown(path)}: the record of another input or output",
                "name the record of this run with --json",
            )
        return found
