"""Files that appear complete or not at all.

Content is written to a scratch file in the target's folder, flushed and fsynced, and then gets the
target's name. A failure or interrupt leaves the old file unchanged and no new one. On Linux
(``O_TMPFILE``) the scratch file has no name while it is written, so that a process that is killed then leaves
nothing behind. What it leaves at other moments a later run removes (petrt.files.stale).

Every problem with an output (it exists, it is an input, its folder is missing or read-only, the disk is
full, whatever else the system says) is a UsageError, exit code 2, because another output path solves it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any, Protocol

from petrt.errors import UsageError, first_line, way
from petrt.files.names import shown
from petrt.files.stale import Hold, scratch_path, sweep

PathLike = str | os.PathLike[str]

SCRATCH = ".tmp"  # the end of a scratch file's name
# Errors with a reason in our words. All others have the system's.
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than the system allows",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission to write in this folder",
    errno.EPERM: "no permission to write in this folder",
    errno.ENOENT: "its folder does not exist",
    errno.ENOTDIR: "its folder is not a folder",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EIO: "the disk reports an error",
    errno.ESTALE: "the network file system has lost the file",
}
# What file systems without fsync answer.
_UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Staged(Protocol):
    """A finished output that has not got its name yet."""

    @property
    def target(self) -> Path:
        """The name that it gets."""

    @property
    def made(self) -> Path:
        """Where it is until then."""

    def publish(self, alone: bool) -> None:
        """Give it its name. Unless it is ``alone``, what was there before can come back."""

    def take_back(self) -> None:
        """Undo ``publish``, as far as it came."""

    def settle(self) -> None:
        """All outputs have their names: forget what was there before."""

    def discard(self) -> None:
        """Remove what has no name yet. What it cannot remove must not hide the error before it."""


@dataclass
class _Written:
    """A finished scratch file, and the name that it gets."""

    scratch: Path
    target: Path
    overwrite: bool
    hold: Hold
    old: Path | None = None

    @property
    def made(self) -> Path:
        return self.scratch

    def publish(self, alone: bool) -> None:
        if self.overwrite and not alone:
            self.old = _keep_old(self.target)
        _publish(self.scratch, self.target, self.overwrite)

    def take_back(self) -> None:
        with suppress(OSError):
            if self.old is not None:
                os.replace(self.old, self.target)
                _discard(self.old)  # of two names of one file, a rename removes neither
            elif not os.path.lexists(self.scratch):  # it has got its name
                self.target.unlink()

    def settle(self) -> None:
        self.hold.release()
        if self.old is not None:
            _discard(self.old)

    def discard(self) -> None:
        _discard(self.scratch)
        self.hold.release()


# The outputs of the open ``together`` block of this thread or task; None outside of one.
_block: ContextVar[list[Staged] | None] = ContextVar("petrt_together", default=None)


def check_output(
    path: PathLike, inputs: Iterable[PathLike] = (), *, overwrite: bool = False
) -> None:
    """Raise UsageError if the output ``path`` cannot be written. To be called before any work.

    ``inputs`` are files that must not be replaced: an output that is one of them, also by a symbolic
    or hard link, is refused even with ``overwrite``. So is one inside an input that is a folder.
    """
    target = Path(path)
    inputs = list(inputs)
    try:
        with explained(target):
            check_outside(target, inputs)
            if _exists(target):
                _check_existing(target, inputs, overwrite)
            descriptor, scratch = _open_scratch(target.parent)
            os.close(descriptor)
            if scratch is not None:
                scratch.unlink()
    except ValueError as error:  # a null byte, or characters the file system cannot encode
        raise UsageError(f"{shown(target)}: not a possible file name") from error


def check_outside(target: Path, inputs: Iterable[PathLike]) -> None:
    """Raise UsageError for an output that lies in an input that is a folder."""
    above = Path(os.path.realpath(target)).parents
    for folder in inputs:
        if os.path.isdir(folder) and Path(os.path.realpath(folder)) in above:
            raise UsageError(
                f"{shown(target)}: lies in the input's own folder", "choose another output path"
            )


def check_outputs(
    paths: Iterable[PathLike], inputs: Iterable[PathLike] = (), *, overwrite: bool = False
) -> None:
    """``check_output`` for all outputs of a run. They must also differ from each other."""
    inputs = list(inputs)
    seen: set[str] = set()
    for path in paths:
        check_output(path, inputs, overwrite=overwrite)
        resolved = os.path.realpath(path)
        if resolved in seen:
            raise UsageError(f"{shown(path)}: two outputs share this path", "give each its own")
        seen.add(resolved)


@contextmanager
def atomic_file(path: PathLike, *, overwrite: bool = False) -> Iterator[BufferedRandom]:
    """A binary file to write to. It becomes ``path`` if the block ends without an exception.

    A symbolic link at ``path`` is replaced, not followed. Without ``overwrite``, a file that appears
    meanwhile is kept and UsageError is raised. An OSError inside the block counts as a failed write, so
    prepare the content before. Inside ``together`` the file becomes ``path`` at the end of that block.
    """
    target = Path(path)
    check_output(target, overwrite=overwrite)
    scratch: Path | None = None
    hold: Hold | None = None
    try:
        with explained(target):
            descriptor, scratch = _open_scratch(target.parent)
            hold = None if scratch is None else Hold(scratch)
            with os.fdopen(descriptor, "w+b") as handle:
                yield handle
                handle.flush()
                sync(descriptor)
                if scratch is None:
                    scratch = scratch_path(target.parent, SCRATCH)
                    _give_name(handle, scratch)
                    hold = Hold(scratch)
        assert hold is not None
        hand_over(_Written(scratch, target, overwrite, hold))
    except BaseException:
        if scratch is not None:
            _discard(scratch)
        if hold is not None:
            hold.release()
        raise


def hand_over(output: Staged) -> None:
    """Give a finished output its name: now, or at the end of the open ``together`` block."""
    block = _block.get()
    if block is None:
        _publish_all([output])
    else:
        block.append(output)


@contextmanager
def together() -> Iterator[None]:
    """The files and folders that ``atomic_file`` and ``atomic_folder`` write in this block, in this thread,
    appear at its end: all or none.

    If one cannot get its name, those before it disappear again, and old ones come back.
    """
    outputs: list[Staged] = []
    before = _block.set(outputs)
    try:
        try:
            yield
        finally:
            _block.reset(before)
        _publish_all(outputs)
    except BaseException:
        for output in outputs:
            output.discard()
        raise


def unpublished(path: PathLike) -> Path:
    """The scratch file or folder that becomes ``path`` at the end of this thread's open ``together`` block,
    complete already. Raises KeyError if the block has written none."""
    for output in _block.get() or ():
        if output.target == Path(path):
            return output.made
    raise KeyError(os.fspath(path))


def _publish_all(outputs: Sequence[Staged]) -> None:
    """Give all outputs their names, or none."""
    begun: list[Staged] = []
    try:
        for output in outputs:
            with explained(output.target):
                begun.append(output)
                output.publish(alone=len(outputs) == 1)
    except BaseException:
        for output in reversed(begun):
            output.take_back()
        raise
    for output in outputs:
        output.settle()
    for folder in {output.target.parent for output in outputs}:
        sync_folder(folder)
        sweep(folder)


def _keep_old(target: Path) -> Path | None:
    """A second name for the file at ``target``, so that it can come back; None if there is none."""
    if not os.path.lexists(target):
        return None
    second = scratch_path(target.parent, SCRATCH)
    try:
        os.link(target, second, follow_symlinks=False)
    except OSError:  # no hard links on this file system
        if target.is_symlink():
            second.symlink_to(os.readlink(target))
        else:
            shutil.copy2(target, second)
    return second


def _discard(scratch: Path) -> None:
    """Remove a scratch file. What it cannot remove must not hide the error before it."""
    with suppress(OSError):
        scratch.unlink()


def atomic_write_bytes(path: PathLike, content: bytes, *, overwrite: bool = False) -> None:
    """Write ``content`` to ``path``, completely or not at all."""
    with atomic_file(path, overwrite=overwrite) as handle:
        handle.write(content)


def atomic_write_json(path: PathLike, value: Any, *, overwrite: bool = False) -> None:
    """Write ``value`` as indented JSON. Raises ValueError for NaN and infinity, which JSON lacks."""
    text = json.dumps(value, indent=2, allow_nan=False)
    atomic_write_bytes(path, f"{text}\n".encode("ascii"), overwrite=overwrite)


def is_scratch(name: str) -> bool:
    """Whether this is the name of a scratch file, left by a killed process."""
    return name.startswith(".petrt-") and name.endswith(SCRATCH)


def _exists(target: Path) -> bool:
    """Whether a file or link, even a dangling one, has this name. Impossible names raise."""
    try:
        target.lstat()
    except FileNotFoundError:
        return False
    return True


def _check_existing(target: Path, inputs: Iterable[PathLike], overwrite: bool) -> None:
    if target.is_dir():
        raise UsageError(f"{shown(target)}: the output is a folder", "name a file in it")
    for source in inputs:
        if os.path.exists(target) and os.path.exists(source) and os.path.samefile(target, source):
            raise UsageError(
                f"{shown(target)}: the output is also an input", "choose another output path"
            )
    # A device or pipe must not be replaced by a file.
    if not stat.S_ISREG(target.lstat().st_mode) and not target.is_symlink():
        raise UsageError(f"{shown(target)}: the output is not a regular file")
    if not overwrite:
        raise UsageError(
            f"{shown(target)}: the output exists",
            way("overwrite", "", "replaces it", "choose another output path"),
        )


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn errors caused by the output path into UsageError."""
    try:
        yield
    except FileExistsError as error:
        raise UsageError(
            f"{shown(target)}: the output appeared meanwhile and is kept",
            way("overwrite", "", "replaces it", "choose another output path"),
        ) from error
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or error.strerror or first_line(error)
        raise UsageError(
            f"{shown(target)}: cannot write: {reason}", "choose another output path"
        ) from error


def _open_scratch(folder: Path) -> tuple[int, Path | None]:
    """An open scratch file in ``folder`` and its name, None if it has none."""
    nameless = getattr(os, "O_TMPFILE", None)
    if nameless is not None and os.path.isdir("/proc/self/fd"):
        # Old kernels and some file systems refuse the flag. Other errors occur again below.
        with suppress(OSError):
            return os.open(folder, nameless | os.O_RDWR, 0o666), None
    scratch = scratch_path(folder, SCRATCH)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(scratch, flags, 0o666), scratch


def _give_name(handle: BufferedRandom, scratch: Path) -> None:
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


def _publish(scratch: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(scratch, target)
        return
    try:
        os.link(scratch, target)  # unlike a rename, never replaces a file
    except FileExistsError:
        raise
    except OSError:  # no hard links on this file system
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.replace(scratch, target)
    else:
        _discard(scratch)


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
