"""Cases of the Ultra-low Dose PET challenge that are known to be mislabelled, corrupt or described wrongly.

Their names are the pseudonyms that the challenge gave them. Those of the tracer and the corrupt files are
in the list "Issues" of udpet-challenge.github.io/dataset, read in November 2026. Those with a wrong weight
or activity were found by a team (github.com/KUL-recon-lab/2025_ud_pet_kul, data_stats/to_be_excluded.txt); a
scaled image does not depend on either. The page also says that the first release of the test set's table
had wrong values of SliceThickness_mm for the Quadra; petrt takes voxel sizes from the images alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from petrt.data.prepare.scan import FoundScan
from petrt.errors import InputError
from petrt.files.names import printable, shown

logger = logging.getLogger(__name__)

TRACER = "labelled 18F-FDG, is 68Ga-DOTA (challenge's list)"
CORRUPT = "corrupt, removed from the test set (challenge's list)"
LEFT_OUT: dict[str, str] = dict.fromkeys(
    (
        "Anonymous_ANO_20220224_1711567_102845",
        "Anonymous_ANO_20220224_1709580_104139",
        "Anonymous_ANO_20220224_1707578_105431",
        "Anonymous_ANO_20220224_1705576_110625",
        "Anonymous_ANO_20220224_1703593_111906",
        "Anonymous_ANO_20220224_1701584_113106",
        "Anonymous_ANO_20220224_1713571_101453",
    ),
    TRACER,
) | dict.fromkeys(("Anonymous-06_DRF-50", "Anonymous-48_DRF-50"), CORRUPT)
"""Subjects, and files without .nii.gz, that are left out, and why."""

TOLD: dict[str, str] = dict.fromkeys(
    (
        "Anonymous_ANO_20230304_2006087_121244",
        "130622_4_20220613_133323",
        "03122021_1_20211203_165117",
        "Anonymous_ANO_20220219_1746459_165142",
    ),
    "the weight in its header seems wrong (a team's list): do not trust its SUV",
)
"""Subjects that are kept and told of."""


def read_names(path: Path) -> dict[str, str]:
    """Name -> reason from a file with one name per line, "#" begins a comment, the reason of its line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise InputError(f"{shown(path)}: cannot be read: {why}", "one name per line") from error
    names = {}
    for line in lines:
        name, _, reason = (part.strip() for part in line.partition("#"))
        if name:
            names[name] = printable(reason) or "in the list of --exclude"
    if not names:
        raise InputError(f"{shown(path)}: names nobody", "one name of a subject or file per line")
    return names


def without(
    found: Iterable[FoundScan], listed: Mapping[str, str], known: bool = True
) -> list[FoundScan]:
    """``found`` without the subjects and files whose names are ``listed``, or, with ``known``, in LEFT_OUT.

    Each is logged with its reason, those of the user's list by a number. Raises InputError for a listed
    name that is nowhere, for it may be misspelt.
    """
    reasons = {name.casefold(): why for name, why in LEFT_OUT.items()} if known else {}
    told = {name.casefold(): why for name, why in TOLD.items()} if known else {}
    own = {_stem(name): why for name, why in listed.items()}
    reasons |= own
    used: set[str] = set()
    kept = []
    for subject in found:
        name = subject.name.casefold()
        if name in reasons:
            used.add(name)
            logger.warning("left out: %s: %s", _called(subject, name in own), reasons[name])
            continue
        if name in told:
            logger.warning("%s: %s", _called(subject, False), told[name])
        scans = []
        for scan in subject.scans:
            if (key := _stem(scan.path.name)) in reasons:
                used.add(key)
                logger.warning("left out: a 1/%d volume: %s", scan.dose, reasons[key])
            else:
                scans.append(scan)
        kept.append(replace(subject, scans=tuple(scans)))
    if unused := sorted(set(own) - used):
        raise InputError(
            f"{len(unused)} names of the list to exclude are not in the source",
            "names are those of the subjects' folders, or of files without .nii.gz",
        )
    return kept


def known_file(name: str) -> str:
    """What is known to be wrong with a file of this name; "" if nothing is."""
    return {_stem(key): why for key, why in LEFT_OUT.items()}.get(_stem(name), "")


def _stem(name: str) -> str:
    return name.casefold().removesuffix(".gz").removesuffix(".nii")


def _called(subject: FoundScan, own: bool) -> str:
    """The public pseudonym of a known case; of the user's list a name only if it is neutral."""
    return (subject.neutral_name or "a subject of the list") if own else shown(subject.name)
