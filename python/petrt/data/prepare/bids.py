"""The BIDS layout: ``sub-*/[ses-*/]pet/*_pet.nii[.gz]``, with the dose in the entity ``rec`` or ``desc``.

Accepted values, in any case: full, fulldose, normal; 1to100, DRF100, D100. Files with the same other
entities (subject, session, tracer, task, run) are one scan at several doses. Files without a dose are
left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from petrt.data.prepare.doses import dose_of_entity
from petrt.data.prepare.scan import FoundScan, Scan
from petrt.errors import InputError

logger = logging.getLogger(__name__)

_ENDS = ("_pet.nii", "_pet.nii.gz")


def is_bids(folder: Path) -> bool:
    """Whether ``folder`` has the BIDS layout, with PET."""
    return next(_pet_folders(folder), None) is not None


def find(folder: Path) -> list[FoundScan]:
    """The scans of ``folder``, by subject, session and the entities other than the dose."""
    subjects = []
    left_out = 0
    for pet in _pet_folders(folder):
        scans: dict[str, list[Scan]] = {}
        problems: dict[str, list[str]] = {}
        for path in sorted(pet.iterdir()):
            if not path.name.endswith(_ENDS) or path.name.startswith("."):
                continue
            rest, values = _entities(path)
            try:
                dose = _dose(values)
            except InputError as error:
                problems.setdefault(rest, []).append(str(error))
                continue
            if dose is None:
                left_out += 1
                continue
            scans.setdefault(rest, []).append(Scan(path, dose))
        person = next(part for part in reversed(pet.parts) if part.startswith("sub-"))
        for rest in sorted({*scans, *problems}):
            subjects.append(
                FoundScan(
                    kind="bids",
                    name=person,
                    patient=person,
                    scans=tuple(scans.get(rest, ())),
                    problems=tuple(problems.get(rest, ())),
                )
            )
    if left_out:
        logger.warning("%d files state no dose in rec- or desc- and are left out", left_out)
    return subjects


def _pet_folders(folder: Path) -> Iterator[Path]:
    """The folders ``pet`` of all subjects and sessions, in sorted order."""
    for subject in sorted(folder.glob("sub-*")):
        for pet in (subject / "pet", *sorted(subject.glob("ses-*/pet"))):
            if pet.is_dir():
                yield pet


def _entities(path: Path) -> tuple[str, list[str]]:
    """The name without the entities that state the dose, and the values of these entities."""
    parts = path.name[: path.name.rindex(".nii")].split("_")
    dose = [part for part in parts if part.startswith(("rec-", "desc-"))]
    return "_".join(part for part in parts if part not in dose), [p.split("-", 1)[1] for p in dose]


def _dose(values: list[str]) -> int | None:
    """The dose that the values state. Raises InputError if they differ."""
    doses = {dose_of_entity(value) for value in values} - {None}
    if len(doses) > 1:
        raise InputError("rec- and desc- of a file state different doses", "rename it")
    return next(iter(doses), None)
