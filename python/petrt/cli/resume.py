"""What a batch has done already: each output carries a key of its input and of all that decides its values.

The key is a hash of the input's bytes, the model, the engine and the options that change a result. It
stands in the field intent_name of an image's header and in the record. An output with the same key is the
output that this run would write. With --resume an output that petrt made with another key is done again; any
other output is not touched without --overwrite.
"""

from __future__ import annotations

import functools
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
from petrt.errors import InputError, PetrtError, UsageError, way
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.inference.reconstructor import Reconstructor

logger = logging.getLogger("petrt")

LENGTH = 15  # hexadecimal digits; intent_name has 16 bytes with its end
# The row of a case from an earlier run, if that run did it with this key.
Before = Callable[[InputCase, str], Outcome | None]


class Keys:
    """The keys of cases under one set of options. ``options``: all that decides values, as JSON."""

    def __init__(self, reconstructor: Reconstructor, dose: float | None, nonfinite: str) -> None:
        from petrt import __version__

        engine = reconstructor.engine
        self.options = json.dumps(
            {
                "petrt": __version__,
                "model": reconstructor.bundle.identity,
                "engine": [engine.name, engine.precision, engine.device.partition(":")[0]],
                "sampler": reconstructor.sampler.model_dump(mode="json"),
                "samples": reconstructor.samples,
                "seed": reconstructor.seed,
                "skip_background": reconstructor.skip_background,
                "dose": dose,
                "nonfinite": nonfinite,
            },
            sort_keys=True,
        )

    @property
    def options_sha256(self) -> str:
        """The hash of ``options``."""
        return hashlib.sha256(self.options.encode()).hexdigest()

    def of(self, source: Path) -> str:
        """The key of an input. Raises InputError if it cannot be read."""
        return hashlib.sha256(f"{self.options} {input_sha256(source)}".encode()).hexdigest()[
            :LENGTH
        ]


def input_sha256(source: Path) -> str:
    """SHA-256 of an input's file. For a pair of header and image, that of the lines with the SHA-256 of both,
    header first. Raises InputError if it cannot be read."""
    from petrt.files.system import reading
    from petrt.io.nifti import files_of

    hashes = []
    for path in dict.fromkeys(files_of(source)):
        if path.exists() and not path.is_file():  # a pipe would wait for its writer
            raise InputError(f"{shown(path)}: not a file", "give the path of one image")
        with reading(path):
            state = path.stat()
            hashes.append(_hashed(path, state.st_size, state.st_mtime_ns))
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(f"{each}\n" for each in hashes).encode()).hexdigest()


@functools.lru_cache(maxsize=64)
def _hashed(path: Path, size: int, mtime_ns: int) -> str:
    """The hash of a file; of one that has not changed since, without reading it again."""
    from petrt.files.hashes import file_sha256

    return file_sha256(path)


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
    there = [path for path in case.outputs if path.exists()]
    if not there or case.overwrite:
        return Standing(case)
    try:
        key = keys.of(case.source)
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
    from petrt.files.hashes import file_sha256

    paths = {"image": case.image, "std": case.std, "preview": case.preview, "record": case.record}
    known = row.outputs if row is not None else {}
    return all(
        path is None or kind not in known or file_sha256(path) == known[kind]
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
    """The key that an output carries: "" if it carries none, None for a picture, which cannot."""
    if path.name.lower().endswith(".png"):
        return None
    try:
        if path.name.lower().endswith(".json"):
            content: Any = json.loads(path.read_bytes())
            return str(content.get("key", "")) if isinstance(content, dict) else ""
        import nibabel

        header: Any = nibabel.load(path).header
        return str(header["intent_name"].item().decode("ascii", "replace"))
    except Exception:  # damaged in any way: an output, but not of this run
        return ""
