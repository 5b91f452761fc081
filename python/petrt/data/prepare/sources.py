"""Finds the subjects of a source and their scans at each dose, without reading volumes.

Each layout has a module. The source's paths and names are not stored, because folders may be named after
patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from petrt.data.prepare.known import read_names, without
from petrt.data.prepare.metadata import Metadata, read_metadata, stem
from petrt.data.prepare.scan import FULL, FoundScan, LoadedScan, Reading, Scan
from petrt.errors import InputError, UsageError, called
from petrt.files import system
from petrt.files.names import shown

Layout = Literal["auto", "challenge", "bids", "csv", "simulated"]
LAYOUTS: tuple[str, ...] = get_args(Layout)


def find(
    sources: Sequence[Path],
    layout: Layout = "auto",
    *,
    exclude: Path | None = None,
    known: bool = True,
    metadata: Path | None = None,
) -> dict[str, FoundScan]:
    """Neutral id -> subject of ``sources``, sorted by path.

    ``exclude``: a list of names to leave out. ``known``: leave out the known cases of
    petrt.data.prepare.known. ``metadata``: a table of NIfTI files (petrt.data.prepare.metadata).
    Raises InputError if there is none or the source contradicts itself.
    """
    listed = {} if exclude is None else read_names(exclude)
    everyone = [found for source in sources for found in _find_one(source, layout)]
    everyone = without(everyone, listed, known)
    if metadata is not None:
        everyone = described(everyone, read_metadata(metadata))
    subjects: dict[str, FoundScan] = {}
    unnamed: list[FoundScan] = []
    for found in everyone:
        if found.ident is None:
            unnamed.append(found)
        elif subjects.setdefault(found.ident, found) is not found:
            raise InputError(
                f"{found.ident} is in two sources", "simulate them with different numbers"
            )
    number = 0
    for found in unnamed:
        while (ident := f"sub-{number:04d}") in subjects:
            number += 1
        subjects[ident] = found
    if not subjects:
        raise InputError(
            "no subjects found",
            "a subject is a folder with one folder or file per dose; see petrt prepare --help",
        )
    return subjects


def described(found: Sequence[FoundScan], rows: Mapping[str, Metadata]) -> list[FoundScan]:
    """``found`` with the row of each NIfTI file in the table; a scan whose dose is another there is a
    problem of its subject. Raises InputError if the table names none of the files."""
    count, made = 0, []
    for subject in found:
        scans: list[Scan] = []
        problems = list(subject.problems)
        for scan in subject.scans:
            row = rows.get(stem(scan.path.name))
            count += row is not None
            if row is not None and row.dose not in (None, scan.dose):
                name = "full" if scan.dose == FULL else f"1/{scan.dose}"
                problems.append(f"{name} by its name, 1/{row.dose} in the table")
            else:
                scans.append(replace(scan, metadata=row))
        made.append(replace(subject, scans=tuple(scans), problems=tuple(problems)))
    if not count:
        raise InputError("the table names none of the files", "check its column of file names")
    return made


def detect(source: Path) -> Layout:
    """The layout of ``source``, which exists."""
    from petrt.data.prepare import bids, simulated

    if source.is_file():
        if source.suffix.lower() == ".csv":
            return "csv"
        raise InputError(f"{shown(source)}: neither a folder nor a .csv file of pairs")
    if simulated.is_simulated(source):
        return "simulated"
    return "bids" if bids.is_bids(source) else "challenge"


def load(path: Path, salt: bytes = b"", reading: Reading | None = None) -> LoadedScan:
    """Read and check one static volume. Raises InputError, which may name the file or folder.

    ``salt``: salt of the patient key (petrt.io.dicom.series.inspect).
    """
    from petrt.io import nifti

    reading = reading or Reading()
    with system.reading(path):
        if path.is_dir():
            from petrt.data.prepare.dicom import load_series

            loaded = load_series(path, salt, reading)
        else:
            from petrt.io.sidecar import sidecar_unit

            volume = nifti.read(path, max_voxels=reading.max_voxels, nonfinite=reading.nonfinite)
            loaded = LoadedScan(volume.data, volume.affine_mm, unit=sidecar_unit(path))
    if loaded.data.ndim != 3:
        shape = "x".join(str(n) for n in loaded.data.shape)
        raise InputError(f"{shown(path)}: {shape}, a series of frames", "give one static frame")
    return loaded


def _find_one(source: Path, layout: Layout) -> list[FoundScan]:
    from petrt.data.prepare import bids, challenge, simulated, table

    with system.reading(source):
        there = source.exists()
    if not there:
        raise InputError(f"{shown(source)}: no such file or folder")
    if layout not in LAYOUTS:
        raise UsageError(f"{called('layout')} is '{layout}'", f"choose one of {', '.join(LAYOUTS)}")
    kind = detect(source) if layout == "auto" else layout
    if kind != "csv" and not source.is_dir():
        raise InputError(f"{shown(source)}: not a folder", f"the layout {kind} is a folder")
    find_in = {
        "challenge": challenge.find,
        "bids": bids.find,
        "csv": table.find,
        "simulated": simulated.find,
    }
    with system.reading(source):
        return find_in[kind](source)
