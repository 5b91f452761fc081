"""A cache of compiled OpenVINO models in the private engine folder, for a quicker start.

OpenVINO writes and reads the files ``<root>/openvino/*.blob``. It checks that version, options and CPU
are the same.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from filelock import FileLock

from petrt.engines.store.folder import private_root
from petrt.errors import PetrtError

logger = logging.getLogger("petrt")

FOLDER = "openvino"
# A blob holds the weights, and there is one for each shape of a network.
MAX_BYTES = 1 << 30
_told: set[str] = set()


def compile_cached(core: Any, model: Any, config: dict[str, Any]) -> Any:
    """``model`` compiled for the CPU, or read from the cache.

    Without a usable folder it is compiled and not cached; the log says so once.
    """
    try:
        folder = _folder()
        # OpenVINO writes in place: another process must not read half of it.
        with FileLock(folder / ".lock", mode=0o600):
            compiled = core.compile_model(model, "CPU", {**config, "CACHE_DIR": str(folder)})
            _prune(folder)
            return compiled
    except (PetrtError, OSError) as error:
        if str(error) not in _told:
            _told.add(str(error))
            logger.info("compiled OpenVINO models cannot be cached: %s", error)
    return core.compile_model(model, "CPU", config)


def _folder() -> Path:
    root = private_root(create=True)
    assert root is not None
    folder = root / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _prune(folder: Path) -> None:
    """Remove the oldest blobs beyond MAX_BYTES."""
    blobs = sorted(folder.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for blob in blobs:
        total += blob.stat().st_size
        if total > MAX_BYTES and blob != blobs[0]:
            blob.unlink()
