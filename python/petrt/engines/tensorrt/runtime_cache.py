"""A cache of the kernels that TensorRT-RTX compiles for a GPU at an engine's first run.

TensorRT-RTX compiles a plan to kernels for the present GPU when it is loaded. They are cached beside the
engine, in one file per GPU:

    <root>/<engine>/runtime-<GPU>.cache    a line that names the format, a SHA-256, then TensorRT's bytes

The file holds native code, so it gets the same protection as plans: it lies in the private engine folder,
must be a regular file of this user, and is used only if its SHA-256 is right. It changes after the engine's
installation, so ``engine.json`` does not list it; the SHA-256 also covers the plans and the GPU. It detects
damage and misplaced files; the folder's mode keeps other users out. If the file is damaged, outdated or
cannot be written, the log says so and the engine compiles its kernels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from typing import Any, Protocol

from petrt.engines.store.folder import Installed, read_own_file
from petrt.engines.store.record import GpuRecord, runtime_cache_name
from petrt.errors import PetrtError
from petrt.files.atomic import atomic_file

logger = logging.getLogger("petrt")

FORMAT = b"petrt runtime cache 1\n"
MOST_BYTES = 1 << 30
_DIGEST_BYTES = 64  # SHA-256 in hex


class Store(Protocol):
    """A place where compiled kernels are saved."""

    def load(self) -> bytes:
        """The kernels saved last; empty if there are none."""
        ...

    def save(self, kernels: bytes) -> None: ...


class KernelMemory:
    """Holds the kernels of an engine that has no folder yet, in memory."""

    def __init__(self) -> None:
        self.kernels = b""

    def load(self) -> bytes:
        return self.kernels

    def save(self, kernels: bytes) -> None:
        self.kernels = kernels


class KernelFile:
    """The file with the kernels of an installed engine for one kind of GPU. Raises no PetrtError."""

    def __init__(self, entry: Installed, gpu: GpuRecord) -> None:
        record = entry.record
        self.path = entry.folder / runtime_cache_name(gpu)
        plans = {name: file.sha256 for name, file in record.files.items()}
        made_for = [record.key, record.engine_version, plans, gpu.name, gpu.compute_capability]
        self._made_for = json.dumps(made_for, sort_keys=True).encode()

    def load(self) -> bytes:
        if not os.path.lexists(self.path):
            return b""
        try:
            data = read_own_file(self.path, MOST_BYTES)
        except PetrtError as error:
            logger.info("compiled kernels are not used: %s", error.message)
            return b""
        start = len(FORMAT) + _DIGEST_BYTES
        kernels = data[start + 1 :]
        if data[: start + 1] != self._head(kernels):
            text = "compiled kernels are not used: %s is damaged or of another engine"
            logger.info(text, self.path.name)
            return b""
        return kernels

    def save(self, kernels: bytes) -> None:
        try:
            with atomic_file(self.path, overwrite=True) as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(self._head(kernels) + kernels)
        except (PetrtError, OSError) as error:
            logger.info("compiled kernels cannot be saved: %s", error)

    def _head(self, kernels: bytes) -> bytes:
        digest = hashlib.sha256(self._made_for + kernels).hexdigest().encode()
        return FORMAT + digest + b"\n"


class RuntimeCache:
    """TensorRT-RTX's kernel cache for all plans of an engine, loaded from and saved to ``store``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: Any = None
        self._kept = 0  # bytes

    def attach(self, config: Any) -> None:
        """Let a context created with ``config`` read its kernels from this cache and add to it.

        The GPU must be the current device. TensorRT-RTX reports an error if it refuses the cache.
        """
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            self._fill()
        if self._cache is None or not config.set_runtime_cache(self._cache):
            logger.info(
                "TensorRT-RTX refuses the runtime cache: kernels are compiled in every process"
            )

    def _fill(self) -> None:
        kernels = self._store.load() if self._cache is not None else b""
        if kernels and self._cache.deserialize(kernels):
            self._kept = len(kernels)
        elif kernels:
            logger.info("compiled kernels are of another driver or GPU and compiled again")

    def keep(self) -> None:
        """Save the kernels if new ones were compiled since the last call."""
        if self._cache is None:
            return
        memory = self._cache.serialize()
        kernels = b"" if memory is None else bytes(memory)
        if len(kernels) > self._kept:
            self._store.save(kernels)
            self._kept = len(kernels)
