"""What a reconstruction was made of: what its files, pictures and pages need beside the result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petrt.errors import UsageError
from petrt.inference.settings import key_of
from petrt.io.source import sha256

if TYPE_CHECKING:
    from petrt.inference.reconstruction import Reconstruction
    from petrt.io.volume import Volume


@dataclass(frozen=True, repr=False)
class Origin:
    """``volume``: the input, whose array is the caller's own where it could be taken as it is. ``source``:
    the path or paths that it was read from, ``series`` the one of them; None if it came otherwise.
    ``settings``: all else that decides the values, as JSON (petrt.inference.settings)."""

    volume: Volume
    source: Any
    series: str | None
    settings: str

    def input_sha256(self) -> str | None:
        """The hash of the input's files, as they are now; None if it came otherwise. Raises InputError where
        they cannot be read any more."""
        return None if self.source is None else sha256(self.source, self.series)

    def key(self) -> str:
        """The key of the result, as ``petrt reconstruct`` writes it; "" for an input that is no file.
        Raises as ``input_sha256`` does."""
        digest = self.input_sha256()
        return "" if digest is None else key_of(self.settings, digest)

    def hashes(self, model: str) -> dict[str, str]:
        """What a record has of them; ``model``: its own. Raises as ``input_sha256`` does."""
        digest = self.input_sha256()
        options = hashlib.sha256(self.settings.encode()).hexdigest()
        known = {} if digest is None else {"input": digest}
        return known | {"model": model, "options": options}


def made_of(result: Reconstruction) -> Origin:
    """What ``result`` was made of. Raises UsageError for one that no Reconstructor made."""
    if result.origin is None:
        raise UsageError("this result does not know its input", "take one from a Reconstructor")
    return result.origin
