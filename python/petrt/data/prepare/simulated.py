"""The layout that ``petrt simulate`` writes, with labels and noise-free volumes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from petrt.data.prepare.scan import FULL, FoundScan, Scan
from petrt.errors import InputError
from petrt.files.json_text import parsed
from petrt.files.names import shown

INDEX = "dataset.json"
_LOW = re.compile(r"1to(\d+)")


def is_simulated(folder: Path) -> bool:
    """Whether ``petrt simulate`` wrote ``folder``."""
    try:
        return "simulated" in _read(folder)["description"]
    except (InputError, KeyError, TypeError):
        return False


def find(folder: Path) -> list[FoundScan]:
    """The simulated subjects of ``folder``, with their own ids."""
    index = _read(folder)
    try:
        hashes = index.get("sha256", {})
        return [
            _subject(folder, ident, files, hashes)
            for ident, files in sorted(index["files"].items())
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{shown(folder)}: {INDEX} is not the one petrt simulate writes", "simulate it again"
        ) from error


def _read(folder: Path) -> Any:
    try:
        return parsed((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{shown(folder)}: no {INDEX} of petrt simulate here",
            "simulate the data set again; an interrupted run leaves none",
        ) from error


def _subject(folder: Path, ident: str, files: dict[str, str], hashes: dict[str, str]) -> FoundScan:
    if not re.fullmatch(r"sub-\d{4,}", ident) or any("/" in name for name in files.values()):
        raise KeyError(ident)
    scans = [Scan(folder / files["full"], FULL)]
    for key, name in files.items():
        if match := _LOW.fullmatch(key):
            scans.append(Scan(folder / name, int(match[1])))
    return FoundScan(
        kind="simulated",
        name=ident,
        patient=ident,
        scans=tuple(scans),
        ident=ident,
        labels=folder / files["labels"],
        truth=folder / files["truth"],
        hashes={name: hashes[name] for name in files.values() if name in hashes},
    )
