"""A CSV of pairs: the columns subject, low, full, dose, and optionally split or patient.

It has one line per pair. Paths are relative to the CSV's folder and name NIfTI files or folders of one
DICOM series. ``dose`` is 100, 1/100 or 0.01. Lines of one subject have the same full dose. Subjects with
the same ``patient`` are scans of one person. A fault in the table raises InputError with its line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from petrt.data.index import SPLITS
from petrt.data.prepare.cells import read_cells
from petrt.data.prepare.scan import FULL, FoundScan, Scan
from petrt.errors import InputError
from petrt.files.names import shown

REQUIRED = ("subject", "low", "full", "dose")
OPTIONAL = ("split", "patient")


@dataclass
class _Subject:
    """The lines of one subject so far; ``line``: number of the first."""

    line: int
    full: Path
    split: str
    patient: str
    low: dict[int, Path] = field(default_factory=dict)


def find(path: Path) -> list[FoundScan]:
    """The subjects of the table, in its order."""
    subjects: dict[str, _Subject] = {}
    for line, row in read_rows(path, REQUIRED, OPTIONAL):
        where = f"{shown(path)}, line {line}"
        low, full = (_path(path.parent, row[key], f"{where}: {key}") for key in ("low", "full"))
        dose = _dose(row["dose"], where)
        split = row["split"]
        if split and split not in SPLITS:
            raise InputError(f"{where}: split '{shown(split)}'", f"one of {', '.join(SPLITS)}")
        new = _Subject(line, full, split, row["patient"])
        subject = subjects.setdefault(row["subject"], new)
        for key in ("full", "split", "patient"):
            if getattr(subject, key) != getattr(new, key):
                raise InputError(
                    f"{where}: another {key} than in line {subject.line}",
                    "give another scan another subject and the same patient",
                )
        if dose in subject.low:
            raise InputError(f"{where}: this subject has its 1/{dose} dose already", "remove one")
        subject.low[dose] = low
    return [
        FoundScan(
            kind="csv",
            name=name,
            patient=subject.patient or f"subject {name}",
            scans=(
                Scan(subject.full, FULL),
                *(Scan(low, dose) for dose, low in sorted(subject.low.items())),
            ),
            split=subject.split or None,
        )
        for name, subject in subjects.items()
    ]


def read_rows(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[tuple[int, dict[str, str]]]:
    """Line number and stripped cells of each row; "" for an absent optional cell.

    Raises InputError for an unreadable file, a missing, unknown or repeated column, and a missing cell.
    """
    name, lines = shown(path), read_cells(path)
    if not lines:
        raise InputError(f"{name}: empty", f"needs the columns {', '.join(required)}")
    columns = [column.lower() for column in lines[0][1]]
    absent = [column for column in required if column not in columns]
    if absent or len(set(columns)) < len(columns) or set(columns) - {*required, *optional}:
        raise InputError(
            f"{name}: columns {', '.join(map(shown, columns))}",
            f"needed: {', '.join(required)}"
            + (f"; possible: {', '.join(optional)}" if optional else ""),
        )
    rows = []
    for line, cells in lines[1:]:
        if len(cells) != len(columns):
            raise InputError(
                f"{name}, line {line}: {len(cells)} cells, {len(columns)} columns", "correct it"
            )
        row = dict.fromkeys(optional, "") | dict(zip(columns, cells, strict=True))
        if empty := [column for column in required if not row[column]]:
            raise InputError(f"{name}, line {line}: no {empty[0]}", "fill it in")
        rows.append((line, row))
    return rows


def _path(folder: Path, text: str, where: str) -> Path:
    try:
        path = folder / text
        if path.exists():
            return path
    except (OSError, ValueError):
        pass
    raise InputError(f"{where}: no such file or folder", "paths start at the CSV's folder")


def _dose(text: str, where: str) -> int:
    """The dose reduction from 100, 1/100 or 0.01."""
    dose = 0.0
    if match := re.fullmatch(r"(?:1\s*/\s*)?(\d{1,4})", text):
        dose = float(match[1])
    elif re.fullmatch(r"0?\.\d+", text) and float(text) > 0:
        dose = 1 / float(text)
    if dose < 2 or abs(dose - round(dose)) > 1e-3 * dose:
        raise InputError(f"{where}: dose '{shown(text)}'", "give a reduction as 100, 1/100 or 0.01")
    return round(dose)
