"""The layout of the Ultra-low Dose PET challenge: folders and files whose names state the dose.

    Subject_184-189/<date_id>/{Full_dose, 1-2 dose, ..., 1-100 dose}/        Siemens Quadra
    uExplorerPART1/Anonymous_.../{... NORMAL, ... D2, ..., ... D100}/        uEXPLORER
    Anonymous-06_DRF-50.nii.gz                                               test sets

A folder whose name states a dose (petrt.data.prepare.doses) holds one DICOM series or one NIfTI file; its
parent is the subject. For a NIfTI file whose name states a dose, the rest of the name is the subject.
Subjects with the same name are one patient.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from petrt.data.prepare.doses import dose_in, without_dose
from petrt.data.prepare.scan import FoundScan, Scan
from petrt.errors import InputError

logger = logging.getLogger(__name__)

_ENDS = (".nii", ".nii.gz")


@dataclass
class _Subject:
    """The scans and problems of one subject found so far."""

    name: str
    scans: list[Scan] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find(folder: Path) -> list[FoundScan]:
    """The subjects below ``folder``, sorted by path."""
    subjects: dict[tuple[Path, str], _Subject] = {}
    left_out = 0
    seen: set[str] = set()
    for place, folders, files in os.walk(folder.resolve(), onerror=_unlisted, followlinks=True):
        parent = Path(place)
        if (real := os.path.realpath(place)) in seen:
            folders.clear()  # a link to a parent folder
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in list(folders):
            if _add(subjects, (parent, ""), parent.name, parent / name, name):
                folders.remove(name)
        for name in sorted(files):
            if not name.lower().endswith(_ENDS) or name.startswith("."):
                continue
            stem = name[: name.lower().rindex(".nii")]
            own = without_dose(stem) or parent.name
            left_out += not _add(subjects, (parent, own), own, parent / name, stem)
    if left_out:
        logger.warning("%d NIfTI files state no dose in their names and are left out", left_out)
    names = Counter(subject.name.casefold() for subject in subjects.values())
    if repeated := sum(count for count in names.values() if count > 1):
        logger.warning("%d subjects have the name of another: treated as one patient", repeated)
    return [
        FoundScan(
            kind="challenge",
            name=subject.name,
            patient=subject.name.casefold(),
            scans=tuple(subject.scans),
            problems=tuple(subject.problems),
        )
        for _, subject in sorted(subjects.items())
    ]


def _add(
    subjects: dict[tuple[Path, str], _Subject],
    key: tuple[Path, str],
    subject: str,
    path: Path,
    name: str,
) -> bool:
    """Add ``path`` to the subject ``key`` if ``name`` states a dose. Returns whether it does."""
    try:
        dose = dose_in(name)
        if dose is None:
            return False
        scan = Scan(_volume(path, dose), dose)
    except InputError as error:
        subjects.setdefault(key, _Subject(subject)).problems.append(str(error))
        return True
    subjects.setdefault(key, _Subject(subject)).scans.append(scan)
    return True


def _volume(path: Path, dose: int) -> Path:
    """The file or folder that holds the volume of a scan."""
    if path.is_file():
        return path
    files = [
        Path(place, name)
        for place, _, names in os.walk(path, onerror=_unlisted)
        for name in names
        if not name.startswith(".")
    ]
    volumes = [file for file in files if file.name.lower().endswith(_ENDS)]
    if not files or len(volumes) > 1:
        what = f"{len(volumes)} NIfTI volumes" if files else "no files"
        dose_text = "full" if dose == 1 else f"1/{dose}"
        raise InputError(f"the {dose_text} dose folder holds {what}", "it must hold one volume")
    return volumes[0] if volumes else path


def _unlisted(error: OSError) -> None:
    """A folder that cannot be listed is not an empty one. Its name may be a patient's."""
    raise InputError(
        f"a folder of scans cannot be listed: {error.strerror}", "check its permissions"
    ) from error
