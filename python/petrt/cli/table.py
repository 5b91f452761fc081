"""The table of a run, TSV and JSON: one row for each case, complete after each of them.

A killed run leaves the table of what it had done. The next one keeps the rows of cases that it leaves out.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrt.cli import outcome
from petrt.cli.outcome import DONE, FAILED, WAITING, Outcome, case_name
from petrt.cli.plan import InputCase
from petrt.errors import UsageError, way
from petrt.files.hashes import file_sha256
from petrt.files.json_text import parsed
from petrt.files.names import shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

NAME = "cases.tsv"
NONE = "n/a"  # as BIDS writes what is missing
_KIND = "petrt cases"
# What was computed from what. Kinds of outputs follow the other columns.
COLUMNS = (
    *("name", "outcome", "exit_code", "seconds", "activity_ratio", "suvmax_shift_percent"),
    *("warnings", "error", "input_sha256", "model_sha256", "options_sha256", "key"),
)
OUTPUTS = ("image", "std", "preview", "record", "coarse", "report")
_HEAD = (*COLUMNS, *(f"{kind}_sha256" for kind in OUTPUTS))


def table_path(given: Path | None, folder: Path | None, parts: int, part: int) -> Path | None:
    """Where the table goes: ``given``, or into ``folder``; each of several parts has one of its own.

    None without both. Raises UsageError for a name that does not end in .tsv.
    """
    if given is not None and given.suffix.lower() != ".tsv":
        raise UsageError(
            f"--table {shown(given)}: not the name of a table",
            "end it in .tsv; the JSON lies beside it",
        )
    path = given or (folder / NAME if folder is not None else None)
    if path is None or parts == 1:
        return path
    return path.with_name(f"{path.stem}-{part}{path.suffix}")


class CaseTable:
    """The table at ``path`` (.tsv) and beside it (.json). Is read first, if it is there.

    Raises UsageError for files at its paths that are no such tables, without ``overwrite``, and for paths
    that are an input or output of ``cases``.
    """

    def __init__(self, path: Path, cases: Sequence[InputCase], *, overwrite: bool = False) -> None:
        self.path, self.json = path, path.with_suffix(".json")
        self._check_place(cases)
        self.before = self._read(overwrite)
        self._rows: dict[Path, Outcome] = {}
        # A row is turned into text once: a large cohort's table is written after each of its cases.
        self._texts: dict[Path, str] = {}
        for case in cases:
            self._set(case, Outcome(case_name(case)))

    def start(self, rows: Iterable[tuple[InputCase, Outcome]]) -> None:
        """Write the table with ``rows`` of cases that are done already; the others wait."""
        from petrt.files.outputs import check_output, explained

        with explained(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.path, self.json):
            check_output(path, overwrite=True)
        for case, row in rows:
            self._set(case, row)
        self._write()

    def add(self, case: InputCase, row: Outcome) -> None:
        """Set the row of ``case`` and write the table."""
        self._set(case, row)
        self._write()

    def _set(self, case: InputCase, row: Outcome) -> None:
        placed = self._placed(case, row)
        self._rows[case.image] = placed
        self._texts[case.image] = f"    {json.dumps(asdict(placed), allow_nan=False)}"

    def _placed(self, case: InputCase, row: Outcome) -> Outcome:
        """The row with the places of what it tells of, so that petrt report finds them."""
        if row.outcome != DONE:
            return row
        paths = {"input": case.source}
        paths |= {str(role): path for role, path, _ in case.results}
        if case.report is not None:
            paths["report"] = case.report
        return replace(row, paths={role: self._from_here(path) for role, path in paths.items()})

    def _from_here(self, path: Path) -> str:
        """The path from the table's folder, as the system goes it: not through links."""
        here = os.path.realpath(self.path.parent)
        return Path(os.path.relpath(os.path.realpath(path), here)).as_posix()

    @property
    def rows(self) -> list[Outcome]:
        """The rows as they stand."""
        return list(self._rows.values())

    def superseded(self) -> Iterator[Path]:
        """The pages of an earlier run's rows whose cases have another page now, such as that of another
        input."""
        now = {row.name: row.paths.get("report") for row in self._rows.values()}
        kept = {*now.values()}
        folder = Path(os.path.realpath(self.path.parent))
        for name, row in self.before.items():
            page = row.paths.get("report")
            if page and now.get(name) and page not in kept:
                yield Path(os.path.normpath(folder / page))

    def row_of_done(self, case: InputCase, key: str) -> Outcome:
        """The row of a case that is left out: that of the run that did it, if it is known, else from its
        record, else without numbers."""
        if row := self.row_before(case, key):
            return row
        if case.record is not None:
            with suppress(OSError, ValueError, KeyError, TypeError):
                content = parsed(case.record.read_bytes())
                return outcome.done(case, content, file_sha256(case.record))
        return Outcome(case_name(case), DONE, exit_code=0, key=key)

    def row_before(self, case: InputCase, key: str) -> Outcome | None:
        """The row that this case has from an earlier run, if it was done then with the same ``key``."""
        row = self.before.get(case_name(case))
        return row if row and key and row.key == key and row.outcome == DONE else None

    def _check_place(self, cases: Sequence[InputCase]) -> None:
        taken = {os.path.realpath(path) for case in cases for path in (case.source, *case.outputs)}
        for path in (self.path, self.json):
            if os.path.realpath(path) in taken:
                raise UsageError(
                    f"{shown(path)}: the table of the run has the name of an input or output",
                    "name another with --table",
                )

    def _read(self, overwrite: bool) -> dict[str, Outcome]:
        """The rows of an earlier run by name."""
        rows = rows_of(self.json)
        for path, known in ((self.json, rows is not None), (self.path, _is_table(self.path))):
            if os.path.lexists(path) and not known and not overwrite:
                raise UsageError(
                    f"{shown(path)}: the file exists and is no table of a run",
                    way("table", "PATH", "writes the table elsewhere"),
                )
        return {row.name: row for row in rows or ()}

    def _write(self) -> None:
        from petrt import __version__
        from petrt.files.atomic import atomic_write_bytes, together

        rows = self.rows
        counts = {kind: sum(r.outcome == kind for r in rows) for kind in (DONE, FAILED, WAITING)}
        head = {"kind": _KIND, "petrt": __version__, "label": "not for diagnostic use"} | counts
        begin = json.dumps(head, indent=2).removesuffix("\n}")
        with together():
            atomic_write_bytes(self.path, _tsv(rows).encode(), overwrite=True)
            lines = ",\n".join(self._texts.values())
            whole = f'{begin},\n  "cases": [\n{lines}\n  ]\n}}\n'
            atomic_write_bytes(self.json, whole.encode("ascii"), overwrite=True)


def _tsv(rows: Iterable[Outcome]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    writer.writerow(_HEAD)
    for row in rows:
        values: list[Any] = [getattr(row, column) for column in COLUMNS]
        values += [row.outputs.get(kind) for kind in OUTPUTS]
        writer.writerow([_cell(value) for value in values])
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None or value == ():
        return NONE
    if isinstance(value, tuple):
        return "; ".join(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_table(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return tuple(stream.readline().rstrip("\n").split("\t")) == _HEAD
    except (OSError, ValueError):
        return False


def rows_of(path: Path) -> list[Outcome] | None:
    """The rows of a table (.json); None for a file that is no table, or damaged."""
    try:
        content = parsed(path.read_bytes())
        if content["kind"] != _KIND:
            return None
        return _rows_format().validate_python(content["cases"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@cache
def _rows_format() -> TypeAdapter[list[Outcome]]:
    from pydantic import TypeAdapter

    return TypeAdapter(list[Outcome])
