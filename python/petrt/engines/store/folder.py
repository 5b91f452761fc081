"""The folder of engines installed on this machine. Only its owner can write to it.

A plan is native code that TensorRT runs unchecked. So petrt loads plans only from a private folder (mode
0700, owned by the user, not a symbolic link) and only if ``engine.json`` beside them lists them. It checks
size and SHA-256 in memory, on the bytes that TensorRT then gets.

    <root>/demo-tensorrt-bf16-sm90-<key>.<random>/    engine.json, *.plan, timing.cache, runtime-*.cache
    <root>/.<key>.lock                                held while an engine of this key is built

An engine appears by one rename, then the one it replaces is removed. The newest of a key is used.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from petrt.engines.store.record import (
    PLANS,
    RECORD,
    RUNTIME_CACHE,
    TIMING_CACHE,
    EngineRecord,
    Verified,
    dump_record,
    parse_record,
)
from petrt.errors import DeviceError, UsageError
from petrt.files.atomic import atomic_write_bytes
from petrt.files.locks import LockHeld, locked
from petrt.files.names import shown
from petrt.files.scratch import is_scratch, sync, sync_folder
from petrt.model.bundle import Bundle

logger = logging.getLogger("petrt")

MAX_RECORD_BYTES = 1 << 20
SAY_SECONDS = 30.0  # between two lines of a process that waits for a build
_FOLDER = re.compile(r"-([0-9a-f]{12})\.[0-9a-f]{8}$")


@dataclass(frozen=True)
class Installed:
    """An engine with a valid record. Its plans are checked when they are loaded."""

    folder: Path
    record: EngineRecord


@dataclass(frozen=True)
class Broken:
    """A folder that cannot be used, and the reason."""

    folder: Path
    reason: str


def cache_root() -> Path:
    """The engine folder: $PETRT_CACHE/engines, by default in the user's cache folder.

    Raises DeviceError for a user without a home folder: no $HOME, and no entry for the user id.
    """
    base = os.environ.get("PETRT_CACHE")
    if base:
        return Path(base) / "engines"
    try:
        folder = platformdirs.user_cache_path("petrt")
    except (KeyError, RuntimeError):
        raise NoHome from None
    if not folder.is_absolute():  # "~", which nothing could replace
        raise NoHome
    return folder / "engines"


class NoHome(DeviceError):
    """There is no place for the engine folder."""

    def __init__(self) -> None:
        super().__init__(
            "this user has no home folder, so nothing is cached", "set PETRT_CACHE to a folder"
        )


def private_root(*, create: bool = False) -> Path | None:
    """The engine folder, checked to be private; None if it does not exist.

    Raises DeviceError, with the command that helps, if others can write to it, and with ``create`` if
    there is no place for it."""
    try:
        root = cache_root()
    except NoHome:
        if create:
            raise
        return None
    try:
        if create:
            root.parent.mkdir(parents=True, exist_ok=True)
            root.mkdir(mode=0o700, exist_ok=True)
        status = root.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeviceError(
            f"cannot use the engine folder {root}: {error.strerror}",
            "set PETRT_CACHE to a folder of your own",
        ) from error
    quoted = shlex.quote(str(root))
    if stat.S_ISLNK(status.st_mode) or not stat.S_ISDIR(status.st_mode):
        raise DeviceError(f"the engine folder {root} is a link or a file", f"rm {quoted}")
    if status.st_uid != os.geteuid():
        raise DeviceError(
            f"the engine folder {root} belongs to another user",
            "set PETRT_CACHE to a folder of your own",
        )
    if status.st_mode & 0o077:
        raise DeviceError(
            f"others can reach the engine folder {root} (mode {stat.S_IMODE(status.st_mode):o})",
            f"chmod 700 {quoted}",
        )
    return root


def installed() -> tuple[list[Installed], list[Broken]]:
    """All engines, newest first, and the folders that cannot be used."""
    root = private_root()
    sound: dict[str, Installed] = {}
    broken: list[Broken] = []
    if root is None:
        return [], []
    entries = []
    try:
        folders = sorted(root.iterdir())
    except OSError as error:
        raise DeviceError(
            f"cannot read the engine folder {root}: {error.strerror}",
            "set PETRT_CACHE to a folder of your own",
        ) from error
    for folder in folders:
        if not _FOLDER.search(folder.name):
            continue
        try:
            entries.append(Installed(folder, _read_record(folder)))
        except DeviceError as error:
            broken.append(Broken(folder, error.message))
    # After a crash between the rename and the removal there are two engines of a key.
    for entry in sorted(entries, key=lambda e: (e.record.built, e.folder.name), reverse=True):
        sound.setdefault(entry.record.key, entry)
    return list(sound.values()), broken


def load_graphs(entry: Installed, bundle: Bundle) -> dict[str, bytes]:
    """Name of a network -> its plan, fully checked.

    Raises DeviceError, which names the file and the next command.
    """
    graphs = set(bundle.graphs)
    try:
        if entry.record.model.sha256 != bundle.identity:
            raise DeviceError("it was built from another model")
        # The record may have been replaced since it was read.
        if _read_record(entry.folder) != entry.record:
            raise DeviceError(f"{RECORD} changed meanwhile")
        files = _read_files(entry)
        if {PLANS[graph] for graph in graphs} != set(files) - {TIMING_CACHE}:
            raise DeviceError(f"{RECORD} lists other networks than the model has")
    except DeviceError as error:
        raise DeviceError(
            f"engine {shown(entry.folder)} cannot be used: {error.message}",
            build_command(bundle.source),
        ) from error
    return {graph: files[PLANS[graph]] for graph in graphs}


def load_timing_cache(entry: Installed) -> bytes:
    """The timing cache, from which the next build of the same key starts; empty if any check fails."""
    try:
        return _read_files(entry).get(TIMING_CACHE, b"")
    except DeviceError:
        return b""


def check_files(entry: Installed) -> str | None:
    """The reason why the installed files are not those of the record; None if they are."""
    try:
        _read_files(entry)
    except DeviceError as error:
        return error.message
    return None


def build_command(source: str) -> str:
    """The command that builds an engine."""
    return f"petrt build-engine {shlex.quote(source)}"


@contextmanager
def build_lock(key: str, *, wait: bool = True) -> Iterator[None]:
    """A lock for the process that builds an engine of this key.

    Others wait and log that again and again, or without ``wait`` raise DeviceError, as for a folder that
    cannot be locked.
    """
    root = private_root(create=True)
    assert root is not None
    path = root / f".{key[:12]}.lock"

    def say(waited: float) -> None:
        since = f" for {waited:.0f} s" if waited >= 1 else ""
        logger.info(
            "another process is building this engine; waiting for it%s (Ctrl-C ends that; if none is"
            " running, delete %s)",
            since,
            path,
        )

    try:
        guard = ExitStack()
        guard.enter_context(
            locked(path, seconds=None if wait else 0.0, waiting=say, every=SAY_SECONDS)
        )
    except LockHeld:
        raise DeviceError(
            "another process is building this engine", "leave out --no-wait to wait for it"
        ) from None
    except OSError as error:
        raise DeviceError(
            f"cannot lock the engine folder {root}: {error.strerror or error}",
            "set PETRT_CACHE to a folder on a local disk",
        ) from error
    with guard:
        yield


def install(record: EngineRecord, files: Mapping[str, bytes]) -> Installed:
    """Install ``files`` with ``record``, completely or not at all. The caller holds the key's lock."""
    root = private_root(create=True)
    assert root is not None
    start = f".new-{record.key[:12]}-"
    for left in root.glob(
        f"{start}*"
    ):  # left by a killed build of this key; the lock excludes others
        shutil.rmtree(left, ignore_errors=True)
    folder = root / f"{record.folder}.{secrets.token_hex(4)}"
    try:
        older = [f for f in root.iterdir() if (m := _FOLDER.search(f.name)) and m[1] in start]
        staging = Path(tempfile.mkdtemp(prefix=start, dir=root))
        try:
            for name, content in {**files, RECORD: dump_record(record)}.items():
                _write(staging / name, content)
            sync_folder(staging)
            staging.rename(folder)
            sync_folder(root)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise DeviceError(
            f"cannot install the engine in {root}: {error.strerror}",
            "make room there, or set PETRT_CACHE to another folder",
        ) from error
    for each in older:
        shutil.rmtree(each, ignore_errors=True)
    return Installed(folder, record)


def record_verification(entry: Installed, verified: Verified) -> Installed:
    """Write the result to ``engine.json``. If that fails, log it; the next use verifies again."""
    record = entry.record.model_copy(update={"verified": verified})
    try:
        atomic_write_bytes(entry.folder / RECORD, dump_record(record), overwrite=True)
    except UsageError as error:
        logger.info("the verification cannot be saved: %s", error.message)
        return entry
    return replace(entry, record=record)


def _read_record(folder: Path) -> EngineRecord:
    if folder.is_symlink() or not folder.is_dir():
        raise DeviceError("not a folder")
    record = parse_record(read_own_file(folder / RECORD, MAX_RECORD_BYTES))
    if not folder.name.startswith(f"{record.folder}."):
        raise DeviceError(f"{RECORD} belongs to another engine")
    return record


def _read_files(entry: Installed) -> dict[str, bytes]:
    """Every file that the record lists, checked. Raises DeviceError."""
    listed = entry.record.files
    try:
        found = {path.name for path in entry.folder.iterdir()} - {RECORD}
    except OSError as error:
        raise DeviceError(f"its folder cannot be read: {error.strerror}") from error
    # A runtime cache has its own check. Scratch files are left by killed processes.
    strays = {
        n for n in found - set(listed) if not is_scratch(n) and not RUNTIME_CACHE.fullmatch(n)
    }
    if strays:
        raise DeviceError(f"{sorted(strays)[0]} is not listed in {RECORD}")
    files = {}
    for name, expected in listed.items():
        data = read_own_file(entry.folder / name, expected.bytes)
        if len(data) != expected.bytes:
            size = "more" if len(data) > expected.bytes else f"{len(data)}"
            raise DeviceError(f"{name} has {size} instead of {expected.bytes} bytes")
        if hashlib.sha256(data).hexdigest() != expected.sha256:
            raise DeviceError(f"{name} was altered: its SHA-256 is not that of {RECORD}")
        files[name] = data
    return files


def read_own_file(path: Path, limit: int) -> bytes:
    """At most ``limit`` + 1 bytes of a regular file of this user. Raises DeviceError, also for a link."""
    try:
        with open(path, "rb", opener=_open_strictly) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise DeviceError(f"{path.name} is not a file of this user")
            return stream.read(limit + 1)
    except OSError as error:
        raise DeviceError(f"{path.name} cannot be read: {error.strerror}") from error


def _open_strictly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # without NONBLOCK a pipe waits


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        sync(descriptor)
