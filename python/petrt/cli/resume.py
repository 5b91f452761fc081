"""What a batch has done already: each output carries a key of its input and of all that decides its values.

The key is a hash of the input's bytes, the model, the engine and the options that change a result. It
stands in the field intent_name of a NIfTI header, in the field ContributionDescription of DICOM files and in
the record. An output with the same key is the
output that this run would write; any other is not touched without --overwrite.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrt.cli.output import STDOUT
from petrt.cli.plan import InputCase
from petrt.errors import PetrtError, UsageError, way
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.inference.reconstructor import Reconstructor


class Keys:
    """The keys of cases under one set of options."""

    def __init__(self, reconstructor: Reconstructor, dose: float | None, nonfinite: str) -> None:
        from petrt.inference.settings import settings_of

        self.settings = settings_of(reconstructor, dose, nonfinite)

    def of(self, source: Path, series: str | None = None) -> str:
        """The key of an input. Raises InputError if it cannot be read."""
        from petrt.inference.settings import key_of

        return key_of(self.settings, source, series)


@dataclass(frozen=True)
class Standing:
    """A case and its outputs: ``done``, or ``refused`` for the given reason, or neither."""

    case: InputCase
    done: bool = False
    refused: UsageError | None = None


def standing(case: InputCase, keys: Keys) -> Standing:
    """Whether the case is done: all its outputs exist and carry its key.

    One with some of them is to be done again and may replace those. An output of another input or of
    other options is a refusal.
    """
    there = [path for path in case.outputs if path.exists() and not _is_empty(path)]
    if not there or case.overwrite:
        return Standing(case)
    try:
        key = keys.of(case.source, case.series)
    except PetrtError:  # the case will fail, in its turn
        return Standing(case)
    found = {path: key_in(path) for path in there}
    other = next((path for path, its in found.items() if its not in (key, None)), None)
    if other is not None:
        error = UsageError(
            f"{shown(other)}: the output exists, made from another input or with other options",
            way("overwrite", "", "replaces it", "choose another output path"),
        )
        return Standing(case, refused=error)
    if key not in found.values():
        return Standing(case)
    done = len(there) == len(case.outputs) and case.record != STDOUT
    return Standing(replace(case, overwrite=not done), done)


def key_in(path: Path) -> str | None:
    """The key that an output carries: "" if it carries none, None for a picture, which cannot."""
    from petrt.io.dicom.writer import derived_key, key_of_file

    if path.name.lower().endswith(".png"):
        return None
    if path.is_dir():
        return derived_key(path) or ""
    try:
        if path.name.lower().endswith(".dcm"):
            return key_of_file(path) or ""
        if path.name.lower().endswith(".json"):
            content: Any = json.loads(path.read_bytes())
            return str(content.get("key", "")) if isinstance(content, dict) else ""
        import nibabel

        header: Any = nibabel.load(path).header
        return str(header["intent_name"].item().decode("ascii", "replace"))
    except Exception:  # damaged in any way: an output, but not of this run
        return ""


def _is_empty(path: Path) -> bool:
    """Whether this is an empty folder, which a series may fill."""
    return path.is_dir() and not any(path.iterdir())
