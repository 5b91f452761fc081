"""What a batch has done already: each output carries a key of its input and of all that decides its values.

The key is a hash of the input's bytes, the model, the engine and the options that change a result. It
stands in the field intent_name of a NIfTI header, in the field ContributionDescription of DICOM files and in
the record. An output with the same key is the output that this run would write. With --resume an output that
petrt made with another key is done again; any other output is not touched without --overwrite.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrt.cli.outcome import Outcome
from petrt.cli.output import STDOUT
from petrt.cli.plan import InputCase
from petrt.errors import PetrtError, UsageError, way
from petrt.files.json_text import parsed
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.diffusion.dose import Told
    from petrt.inference.reconstructor import Reconstructor

logger = logging.getLogger("petrt")

# The row of a case from an earlier run, if that run did it with this key.
Before = Callable[[InputCase, str], Outcome | None]


class Keys:
    """The keys of cases under one set of options. ``settings``: all that decides values, as JSON."""

    def __init__(self, reconstructor: Reconstructor, dose: Told, nonfinite: str) -> None:
        from petrt.inference.settings import settings_of

        self.settings = settings_of(reconstructor, dose, nonfinite)

    def settings_at(self, dose: float | None) -> str:
        """``settings`` with another ``dose``, where the case has its own."""
        if dose is None:
            return self.settings
        return json.dumps(json.loads(self.settings) | {"dose": dose}, sort_keys=True)

    def options_sha256(self, dose: float | None = None) -> str:
        """The hash of ``settings_at`` a case's own ``dose``."""
        return hashlib.sha256(self.settings_at(dose).encode()).hexdigest()

    def of(
        self,
        source: Path,
        series: str | None = None,
        sha256: str | None = None,
        dose: float | None = None,
    ) -> str:
        """The key of an input; ``sha256``: its hash, where that is known already; ``dose``: its own.
        Raises InputError if it cannot be read."""
        from petrt.inference.settings import key_of
        from petrt.io import source as volumes

        return key_of(self.settings_at(dose), sha256 or volumes.sha256(source, series))


@dataclass(frozen=True)
class Standing:
    """A case and its outputs: ``done`` with this ``key``, or ``refused`` for the given reason, or neither."""

    case: InputCase
    done: bool = False
    refused: UsageError | None = None
    key: str = ""


def standing(
    case: InputCase, keys: Keys, *, again: bool = False, before: Before | None = None
) -> Standing:
    """Whether the case is done: all its outputs exist and carry its key.

    One with some of them is to be done again and may replace those. An output of another input or of
    other options is a refusal; with ``again`` (--resume) petrt's own are done again instead, as are those
    that have changed since the run of which ``before`` tells.
    """
    there = [path for path in case.outputs if path.exists() and not _is_empty(path)]
    if not there or case.overwrite:
        return Standing(case)
    try:
        key = keys.of(case.source, case.series, dose=case.dose)
    except PetrtError:  # the case will fail, in its turn
        return Standing(case)
    found = {path: key_in(path) for path in there}
    others = {path: its for path, its in found.items() if its not in (key, None)}
    if again and others and all(re.fullmatch("[0-9a-f]{15}", str(its)) for its in others.values()):
        return Standing(replace(case, overwrite=True))
    if others:
        error = UsageError(
            f"{shown(next(iter(others)))}: the output exists, made from another input or with other options",
            _ways(again, next(iter(others.values()))),
        )
        return Standing(case, refused=error)
    if key not in found.values():
        return Standing(case)
    done = len(there) == len(case.outputs) and case.record != STDOUT
    if done and again and before is not None:
        done = _unchanged(case, before(case, key))
    return Standing(replace(case, overwrite=not done), done, key=key)


def _ways(again: bool, its_key: str | None) -> str:
    overwrite = way("overwrite", "", "replaces it", "choose another output path")
    ours = "" if again or not its_key else way("resume", "", "does it again")
    return f"{ours}, {overwrite}" if ours else overwrite


def _unchanged(case: InputCase, row: Outcome | None) -> bool:
    """Whether the outputs still have the hashes of ``row``; what has no hash counts as unchanged."""
    from petrt.files.hashes import output_sha256

    paths = {
        "image": case.image,
        "std": case.std,
        "coarse": case.coarse,
        "preview": case.preview,
        "report": case.report,
        "record": case.record,
    }
    known = row.outputs if row is not None else {}
    return all(
        path is None or kind not in known or output_sha256(path) == known[kind]
        for kind, path in paths.items()
    )


def stand_all(
    cases: Sequence[InputCase], keys: Keys, *, again: bool = False, before: Before | None = None
) -> list[Standing]:
    """How all ``cases`` stand. Raises UsageError if an output of another run is in the way."""
    stands = [standing(case, keys, again=again, before=before) for case in cases]
    if refused := next((each.refused for each in stands if each.refused), None):
        raise refused
    if count := sum(each.done for each in stands):
        logger.info("%d of %d cases are done already", count, len(cases))
    return stands


def remaining(cases: Sequence[InputCase], keys: Keys, *, again: bool = False) -> list[InputCase]:
    """The cases that are still to do; see ``stand_all``."""
    return [each.case for each in stand_all(cases, keys, again=again) if not each.done]


def key_in(path: Path) -> str | None:
    """The key that an output carries: "" if it carries none, None for pictures and pages, which cannot."""
    from petrt.io.dicom.writer import derived_key, key_of_file

    if path.name.lower().endswith((".png", ".html")):
        return None
    if path.is_dir():
        return derived_key(path) or ""
    try:
        if path.name.lower().endswith(".dcm"):
            return key_of_file(path) or ""
        if path.name.lower().endswith(".json"):
            content: Any = parsed(path.read_bytes())
            return str(content.get("key", "")) if isinstance(content, dict) else ""
        import nibabel

        header: Any = nibabel.load(path).header
        return str(header["intent_name"].item().decode("ascii", "replace"))
    except Exception:  # damaged in any way: an output, but not of this run
        return ""


def _is_empty(path: Path) -> bool:
    """Whether this is an empty folder, which a series may fill."""
    return path.is_dir() and not any(path.iterdir())
