"""A cache of compiled OpenVINO models in the private engine folder, for a quicker start.

OpenVINO writes and reads the files ``<root>/openvino/*.blob``. It checks that version, options and CPU
are the same.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from petrt.engines.store.folder import private_root
from petrt.errors import PetrtError
from petrt.files.locks import LockHeld, locked

logger = logging.getLogger("petrt")

FOLDER = "openvino"
# A blob holds the weights, and there is one for each shape of a network.
MAX_BYTES = 1 << 30
# Others hold the lock while they compile one network. One that takes longer may be dead.
LOCK_SECONDS = 5.0
_told: set[str] = set()
# Places whose lock was not free in time: asked again, but not waited for.
_held: set[Path] = set()


def compile_cached(core: Any, model: Any, config: dict[str, Any]) -> Any:
    """``model`` compiled for the CPU, or read from the cache.

    Without a usable folder, or while another process holds its lock, it is compiled and not cached;
    the log says so once.
    """
    try:
        folder = _folder()
        lock = folder / ".lock"
        # OpenVINO writes in place: another process must not read half of it.
        with locked(lock, seconds=0.0 if lock in _held else LOCK_SECONDS):
            _held.discard(lock)
            compiled = core.compile_model(model, "CPU", {**config, "CACHE_DIR": str(folder)})
            _prune(folder)
            return compiled
    except LockHeld:
        _held.add(lock)
        _say_once(f"another process holds its lock ({lock})")
    except (PetrtError, OSError) as error:
        _say_once(str(error))
    return core.compile_model(model, "CPU", config)


def _say_once(reason: str) -> None:
    if reason not in _told:
        _told.add(reason)
        logger.info("compiled OpenVINO models cannot be cached: %s", reason)


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
