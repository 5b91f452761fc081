"""Whether an output can be written, asked before any work; and what its path caused, in words."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from petrt.errors import UsageError, first_line, way
from petrt.files.names import shown
from petrt.files.scratch import open_scratch

PathLike = str | os.PathLike[str]

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
            descriptor, scratch = open_scratch(target.parent)
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
