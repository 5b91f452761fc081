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
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any, Protocol

from petrt.files.names import shown
from petrt.files.outputs import PathLike, check_output, explained
from petrt.files.scratch import SCRATCH, discard, give_name, open_scratch, sync, sync_folder
from petrt.files.stale import Hold, scratch_path, sweep

logger = logging.getLogger("petrt")


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
                discard(self.old)  # of two names of one file, a rename removes neither
            elif not os.path.lexists(self.scratch):  # it has got its name
                self.target.unlink()

    def settle(self) -> None:
        self.hold.release()
        if self.old is not None:
            discard(self.old)

    def discard(self) -> None:
        discard(self.scratch)
        self.hold.release()


# The outputs of the open ``together`` block of this thread or task; None outside of one.
_block: ContextVar[list[Staged] | None] = ContextVar("petrt_together", default=None)


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
            descriptor, scratch = open_scratch(target.parent)
            hold = None if scratch is None else Hold(scratch)
            with os.fdopen(descriptor, "w+b") as handle:
                yield handle
                handle.flush()
                sync(descriptor)
                if scratch is None:
                    scratch = scratch_path(target.parent, SCRATCH)
                    give_name(handle, scratch)
                    hold = Hold(scratch)
        assert hold is not None
        hand_over(_Written(scratch, target, overwrite, hold))
    except BaseException:
        if scratch is not None:
            discard(scratch)
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
        logger.debug("wrote %s", shown(output.target))
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


def atomic_write_bytes(path: PathLike, content: bytes, *, overwrite: bool = False) -> None:
    """Write ``content`` to ``path``, completely or not at all."""
    with atomic_file(path, overwrite=overwrite) as handle:
        handle.write(content)


def atomic_write_json(path: PathLike, value: Any, *, overwrite: bool = False) -> None:
    """Write ``value`` as indented JSON. Raises ValueError for NaN and infinity, which JSON lacks."""
    text = json.dumps(value, indent=2, allow_nan=False)
    atomic_write_bytes(path, f"{text}\n".encode("ascii"), overwrite=overwrite)


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
        discard(scratch)
