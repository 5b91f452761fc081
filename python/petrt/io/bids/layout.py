"""A BIDS data set and its PET files: ``sub-*/[ses-*/]pet/<entities>_pet.nii[.gz]``.

The names are those of the specification, https://bids-specification.readthedocs.io, PET. A link whose file
is absent is a PET file, too: in a DataLad clone most are, until they are fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petrt.errors import InputError, PetrtError, UsageError
from petrt.files.json_text import parsed
from petrt.files.names import shown
from petrt.files.system import reading
from petrt.io.sidecar import LARGEST

DESCRIPTION = "dataset_description.json"
# Entities of a raw PET file, in the order of its name.
ENTITIES = ("sub", "ses", "task", "trc", "rec", "run")
_ENDS = ("_pet.nii.gz", "_pet.nii")
_LABEL = re.compile(r"[0-9a-zA-Z+]+")
# Labels that a message lists.
_MOST_TOLD = 8


@dataclass(frozen=True)
class Dataset:
    """The folder of a data set, and the content of its description."""

    root: Path
    description: dict[str, Any]


@dataclass(frozen=True)
class PetFile:
    """A PET file of ``dataset``; ``entities`` by their short names, in the order of the name."""

    dataset: Dataset
    path: Path
    entities: dict[str, str]

    @property
    def within(self) -> str:
        """The path within the data set, with forward slashes."""
        return self.path.relative_to(self.dataset.root).as_posix()

    @property
    def stem(self) -> str:
        """The name without suffix and extension, such as ``sub-01_trc-FDG``."""
        return "_".join(f"{key}-{label}" for key, label in self.entities.items())


@dataclass
class Found:
    """The PET files of a data set, and what is wrong with names and folders of others."""

    files: list[PetFile] = field(default_factory=list)
    faults: list[InputError] = field(default_factory=list)


def is_dataset(folder: Path) -> bool:
    """Whether ``folder`` is the root of a BIDS data set: its description states a BIDSVersion."""
    try:
        open_dataset(folder)
    except (PetrtError, OSError):
        return False
    return True


def open_dataset(root: Path) -> Dataset:
    """Read the description of the data set in ``root``. Raises InputError if it is none."""
    with reading(root):
        if not root.is_dir():
            raise InputError(f"{shown(root)}: not a folder", "give the root of a BIDS data set")
        path = root / DESCRIPTION
        if not path.is_file():
            raise InputError(
                f"{shown(root)}: no BIDS data set: it has no {DESCRIPTION}",
                "give the folder that holds one, or reconstruct files by petrt reconstruct",
            )
    description = read_json(path)
    if not isinstance(description.get("BIDSVersion"), str):
        raise InputError(f"{shown(path)}: states no BIDSVersion", "add the field")
    return Dataset(root, description)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a data set. Raises InputError if there is none."""
    with reading(path):
        if path.stat().st_size > LARGEST:
            raise InputError(f"{shown(path)}: over {LARGEST >> 20} MiB of JSON", "repair it")
        content = path.read_bytes()
    try:
        value = parsed(content)
    except ValueError as error:
        raise InputError(f"{shown(path)}: not JSON", "repair it") from error
    if not isinstance(value, dict):
        raise InputError(f"{shown(path)}: not a JSON object", "repair it")
    return value


def split_name(stem: str) -> dict[str, str] | None:
    """The entities of a name without extension that ends in ``_pet`` or is ``pet``; None for others."""
    *parts, suffix = stem.split("_")
    pairs = [part.partition("-") for part in parts]
    if suffix != "pet" or not all(dash and _LABEL.fullmatch(label) for _, dash, label in pairs):
        return None
    entities = {key: label for key, _, label in pairs}
    return entities if len(entities) == len(pairs) else None


def labels_of(key: str, given: Sequence[str]) -> list[str]:
    """Labels without the prefix, as ``01`` for ``sub-01``. Raises UsageError for what is no label."""
    labels = [each.removeprefix(f"{key}-") for part in given for each in part.split(",")]
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise UsageError(
                f"'{shown(label)}' is no label of BIDS", "labels are letters and digits"
            )
    return list(dict.fromkeys(labels))


def find(dataset: Dataset, subjects: Sequence[str] = (), sessions: Sequence[str] = ()) -> Found:
    """The PET files of ``subjects`` and ``sessions`` (labels without prefix; all, if none are given).

    A folder that cannot be listed, a file with a wrong name and a subject asked for that has no PET file
    are faults, and the others are found all the same. Raises InputError for labels that the data set does
    not have, and if there is no PET file at all.
    """
    folders = _labelled(dataset.root, "sub")
    _must_have("sub", subjects, [*folders])
    found, known = Found(), set[str]()
    for subject in subjects or folders:
        before = len(found.files) + len(found.faults)
        try:
            within = _labelled(folders[subject], "ses")
            known.update(within)
            wanted = [within[label] for label in within if not sessions or label in sessions]
            for folder in (*wanted, *(() if sessions else (folders[subject],))):
                _files_of(dataset, folder, found)
        except InputError as error:
            found.faults.append(error)
        if subjects and len(found.files) + len(found.faults) == before:
            what = "no PET file in these sessions" if sessions else "no PET file"
            found.faults.append(InputError(f"sub-{subject}: {what}", "leave out its label"))
    _must_have("ses", sessions, sorted(known))
    if not found.files and not found.faults:
        raise InputError(
            f"{shown(dataset.root)}: no PET file in this data set",
            "they are named sub-<label>/[ses-<label>/]pet/sub-<label>_pet.nii.gz",
        )
    return found


def _labelled(folder: Path, key: str) -> dict[str, Path]:
    """The folders ``key-<label>`` in ``folder``, by label and sorted."""
    with reading(folder):
        entries = sorted(folder.glob(f"{key}-*")) if _listable(folder) else []
        return {path.name[len(key) + 1 :]: path for path in entries if path.is_dir()}


def _listable(folder: Path) -> bool:
    """True; raises OSError for a folder that cannot be listed, which ``glob`` takes as an empty one."""
    next(folder.iterdir(), None)
    return True


def _must_have(key: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    if absent := [label for label in wanted if label not in there]:
        told = ", ".join(f"{key}-{shown(label)}" for label in there[:_MOST_TOLD]) or "none"
        more = f" and {len(there) - _MOST_TOLD} more" if len(there) > _MOST_TOLD else ""
        raise InputError(f"the data set has no {key}-{absent[0]}", f"it has {told}{more}")


def _files_of(dataset: Dataset, folder: Path, found: Found) -> None:
    """Add the PET files of one subject's or session's folder to ``found``."""
    pet = folder / "pet"
    with reading(pet):
        entries = sorted(pet.iterdir()) if pet.is_dir() else []
    where = {part[:3]: part[4:] for part in folder.relative_to(dataset.root).parts}
    for path in _images(entries):
        entities = split_name(path.name[: path.name.rindex(".nii")]) or {}
        place = {key: entities.get(key) for key in ("sub", "ses") if key in {*entities, *where}}
        order = [ENTITIES.index(key) for key in entities if key in ENTITIES]
        fault = ""
        if not entities or len(order) < len(entities) or order != sorted(order):
            fault = f"not a name of a PET file with the entities {', '.join(ENTITIES)}"
        elif place != where:
            fault = "its name contradicts its folders"
        if fault:
            found.faults.append(InputError(f"{shown(path)}: {fault}", "rename it"))
        else:
            found.files.append(PetFile(dataset, path, entities))


def _images(entries: Sequence[Path]) -> Iterator[Path]:
    for path in entries:
        if path.name.endswith(_ENDS) and not path.name.startswith("."):
            yield path
