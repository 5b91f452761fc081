"""What a batch has done already: each output carries a key of its input and of all that decides its values.

The key is a hash of the input's bytes, the model, the engine and the options that change a result. It
stands in the field intent_name of an image's header and in the record. An output with the same key is the
output that this run would write; any other is not touched without --overwrite.
"""

from __future__ import annotations

import hashlib
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

LENGTH = 15  # hexadecimal digits; intent_name has 16 bytes with its end


class Keys:
    """The keys of cases under one set of options."""

    def __init__(self, reconstructor: Reconstructor, dose: float | None, nonfinite: str) -> None:
        from petrt import __version__

        engine = reconstructor.engine
        self._options = json.dumps(
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

    def of(self, source: Path, series: str | None = None) -> str:
        """The key of an input. Raises InputError if it cannot be read."""
        from petrt.io.source import update_with

        digest = hashlib.sha256(self._options.encode())
        update_with(digest.update, source, series)
        return digest.hexdigest()[:LENGTH]


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
    there = [path for path in case.outputs if path.exists()]
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
