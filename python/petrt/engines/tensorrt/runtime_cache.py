"""Kernels that TensorRT-RTX compiles for a GPU when an engine is first run, kept beside the engine.

A plan of TensorRT-RTX becomes kernels of the GPU at hand only when it is loaded. What was compiled is
kept, one file a GPU, so that the next process does not compile again:

    <root>/<engine>/runtime-<GPU>.cache    a line that names the format, a SHA-256, then TensorRT's bytes

This is native code and is treated as plans are: it lies in the private folder of engines, is read never
through a link and only as a file of this user, and is handed on only where its SHA-256 is right. It grows
after the engine was installed, so it is not listed in ``engine.json``; instead the SHA-256 covers the
plans and the GPU it was made for as well. Like that of ``engine.json`` it shows damage, and a file that
belongs elsewhere; who may write to the folder is kept out by its mode. Kernels only save time: a file that
is damaged, outdated or cannot be written is said in the log, and the engine runs without it.
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
    """Where compiled kernels are kept."""

    def load(self) -> bytes:
        """What was saved last; empty where there is nothing."""
        ...

    def save(self, kernels: bytes) -> None: ...


class KernelMemory:
    """Kernels of an engine that has no folder yet."""

    def __init__(self) -> None:
        self.kernels = b""

    def load(self) -> bytes:
        return self.kernels

    def save(self, kernels: bytes) -> None:
        self.kernels = kernels


class KernelFile:
    """Kernels of an installed engine on one kind of GPU. Nothing here raises a PetrtError."""

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
            logger.info("compiled kernels cannot be kept: %s", error)

    def _head(self, kernels: bytes) -> bytes:
        digest = hashlib.sha256(self._made_for + kernels).hexdigest().encode()
        return FORMAT + digest + b"\n"


class RuntimeCache:
    """TensorRT-RTX's cache, one for all plans of an engine, from and into ``store``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: Any = None
        self._kept = 0  # bytes

    def attach(self, config: Any) -> None:
        """Let a context that is made with ``config`` take its kernels from here, and leave them here.

        The GPU must be the current device. What TensorRT-RTX refuses, it reports as an error.
        """
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            self._fill()
        if self._cache is None or not config.set_runtime_cache(self._cache):
            logger.info(
                "TensorRT-RTX takes no runtime cache: kernels are compiled in every process"
            )

    def _fill(self) -> None:
        kernels = self._store.load() if self._cache is not None else b""
        if kernels and self._cache.deserialize(kernels):
            self._kept = len(kernels)
        elif kernels:
            logger.info("compiled kernels are of another driver or GPU and compiled again")

    def keep(self) -> None:
        """Save the kernels, if more were compiled since the last time."""
        if self._cache is None:
            return
        memory = self._cache.serialize()
        kernels = b"" if memory is None else bytes(memory)
        if len(kernels) > self._kept:
            self._store.save(kernels)
            self._kept = len(kernels)
