"""The cells of a CSV file from outside."""

from __future__ import annotations

import csv
from pathlib import Path

from petrt.errors import InputError
from petrt.files.names import shown


def read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and stripped cells of each row that is not empty; UTF-8, with or without its mark.

    Raises InputError for a file that cannot be read or is no CSV.
    """
    name = shown(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        if isinstance(error, OSError):
            raise InputError(
                f"{name}: cannot be read: {error.strerror}", "check its path and permissions"
            ) from error
        raise InputError(
            f"{name}: cannot be read: not a CSV file in UTF-8", "save it as CSV, UTF-8"
        ) from error
