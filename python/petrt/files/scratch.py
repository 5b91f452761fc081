"""Scratch files: the content of an output before it has its name; and what brings files to disk."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from io import BufferedRandom
from pathlib import Path

from petrt.files.stale import scratch_path

SCRATCH = ".tmp"  # the end of a scratch file's name
# What file systems without fsync answer.
_UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def is_scratch(name: str) -> bool:
    """Whether this is the name of a scratch file, left by a killed process."""
    return name.startswith(".petrt-") and name.endswith(SCRATCH)


def open_scratch(folder: Path) -> tuple[int, Path | None]:
    """An open scratch file in ``folder`` and its name, None if it has none."""
    nameless = getattr(os, "O_TMPFILE", None)
    if nameless is not None and os.path.isdir("/proc/self/fd"):
        # Old kernels and some file systems refuse the flag. Other errors occur again below.
        with suppress(OSError):
            return os.open(folder, nameless | os.O_RDWR, 0o666), None
    scratch = scratch_path(folder, SCRATCH)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(scratch, flags, 0o666), scratch


def give_name(handle: BufferedRandom, scratch: Path) -> None:
    """Link a nameless file into its folder, or copy it if the file system has no links."""
    try:
        # With a folder Python calls linkat(AT_SYMLINK_FOLLOW), which links the file and not the
        # link in /proc. The source is absolute, so the folder is not used.
        source = f"/proc/self/fd/{handle.fileno()}"
        os.link(source, scratch, src_dir_fd=handle.fileno(), follow_symlinks=True)
    except OSError:
        handle.seek(0)
        with open(scratch, "xb") as copy:
            shutil.copyfileobj(handle, copy)
            copy.flush()
            sync(copy.fileno())


def discard(scratch: Path) -> None:
    """Remove a scratch file. What it cannot remove must not hide the error before it."""
    with suppress(OSError):
        scratch.unlink()


def sync(descriptor: int) -> None:
    """Flush an open file to disk, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that new names in it are durable, where that is possible.

    Its files are complete and have their names, so a folder that cannot be opened or flushed (CIFS,
    shared folders of virtual machines, no permission to read it) is no error.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
