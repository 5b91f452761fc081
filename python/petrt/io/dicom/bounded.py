"""Opens files whose lengths may be damaged."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO


def bounded(path: Path) -> BinaryIO:
    """The file, to be read. Raises OSError."""
    return _Bounded(open(path, "rb", buffering=0))


class _Bounded(io.BufferedReader):
    """A file that never reserves memory for more bytes than it holds: a damaged length claims up to 4 GiB."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size >= 0:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)
