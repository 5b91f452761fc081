"""What the .json files of a data set say of a PET file, and whether that fits its frames.

A file inherits: every ``*_pet.json`` in its folder or above, up to the root, holds for it if its name has no
entity that the file's has not. The nearer one overrides the others, key by key (the inheritance
principle of the specification's Common principles).
"""

from __future__ import annotations

import math
from typing import Any

from petrt.errors import InputError
from petrt.files.names import shown
from petrt.files.system import reading
from petrt.io.bids.layout import PetFile, read_json, split_name
from petrt.io.sidecar import frame_faults

# Without these a PET volume has no meaning; the specification requires them, among others.
_TIMES = ("FrameTimesStart", "FrameDuration")


def metadata(file: PetFile) -> dict[str, Any]:
    """The metadata of a PET file. Raises InputError if it has none, or if it cannot be told which."""
    found: dict[str, Any] = {}
    folder, root = file.path.parent, file.dataset.root
    there = False
    for level in reversed(
        [folder, *(each for each in folder.parents if root in (each, *each.parents))]
    ):
        with reading(level):
            names = sorted(level.glob("*pet.json"))
        own = [path for path in names if _applies(path.stem, file)]
        if len(own) > 1:
            raise InputError(
                f"{shown(file.path)}: {shown(own[0])} and {shown(own[1])} both describe it",
                "one folder may hold one such file; merge them",
            )
        for path in own:
            there = True
            found |= read_json(path)
    if not there:
        raise InputError(
            f"{shown(file.path)}: no .json file describes it", f"add {file.stem}_pet.json"
        )
    return found


def check(file: PetFile, content: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Raise InputError unless ``content`` states a unit, and times of just the frames of ``shape``."""
    name = shown(file.path)
    unit = content.get("Units")
    if not isinstance(unit, str) or not unit.strip():
        raise InputError(f"{name}: its .json file states no Units", "add the field, as Bq/mL")
    for key in _TIMES:
        values = content.get(key)
        if not isinstance(values, list) or not all(map(_is_time, values)):
            raise InputError(f"{name}: its .json file has no {key} in seconds", "add the list")
    if faults := frame_faults(content, shape[3] if len(shape) == 4 else 1):
        raise InputError(f"{name}: {faults[0]}", "correct the .json file or the volume")


def _applies(stem: str, file: PetFile) -> bool:
    entities = split_name(stem)
    return entities is not None and entities.items() <= file.entities.items()


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
