"""Reads a plain or gzip file once, to its end, and checks its length.

The size and integrity of a compressed file are known only at its end. So the voxels are read piece by
piece into one array, and then the rest, for gzip's check sum.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from petrt.errors import InputError
from petrt.files.names import shown

_PIECE = 1 << 20
# The largest compression ratio of deflate (zlib's documentation); it bounds the content's size.
_DEFLATE_LIMIT = 1032
# Some writers pad the end. More bytes than this mean that the header does not fit the content.
_MAX_TRAILING = 1 << 20
_COPY_AGAIN = "copy or download it again"


@contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """The decompressed content of ``path`` as a stream. Errors of the file become InputError."""
    name = shown(path)
    try:
        _check_regular(path)
        with open(path, "rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            _check_suffix(path, zipped)
            if not zipped:
                yield plain
                return
            with gzip.GzipFile(fileobj=plain, mode="rb") as stream:
                yield stream
    except gzip.BadGzipFile as error:
        raise InputError(
            f"{name}: corrupt gzip file (check sum or structure)", _COPY_AGAIN
        ) from error
    except zlib.error as error:
        raise InputError(f"{name}: corrupt gzip file (compressed data)", _COPY_AGAIN) from error
    except FileNotFoundError as error:
        if path.is_symlink():
            raise InputError(
                f"{name}: a link to a file that is not there", "mend or remove the link"
            ) from error
        raise InputError(f"{name}: no such file", "check the path") from error
    except OSError as error:
        raise InputError(
            f"{name}: cannot read: {error.strerror or error}", "check the file"
        ) from error


def read_start(stream: BufferedIOBase, length: int) -> bytes:
    """The first ``length`` bytes, or fewer if the file is shorter."""
    start = b""
    while len(start) < length and (piece := _some(stream, length - len(start))):
        start += piece
    return start


def read_voxels(
    stream: BufferedIOBase, path: Path, *, offset: int, count: int, dtype: np.dtype
) -> np.ndarray:
    """``count`` values of ``dtype`` from byte ``offset`` of the stream, flat in file order.

    Reads the stream to its end. Raises InputError, with the expected and actual byte counts, if it is
    too short or too long; before it allocates memory if the file's size already shows that.
    """
    expected = offset + count * dtype.itemsize
    _check_size(stream, path, expected)
    if stream.tell() > offset:  # a NIfTI-1 volume starts before the longest header's end
        stream.seek(offset)
    position = stream.tell()
    position += _skip(stream, offset - position)
    values = np.empty(count, dtype)
    target = values.view(np.uint8)
    filled = 0
    if position == offset:
        while filled < len(target) and (piece := _some(stream, len(target) - filled)):
            target[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
    if position + filled < expected:
        raise _truncated(path, expected, f"{position + filled}")
    trailing = _skip(stream, _MAX_TRAILING + 1)
    if trailing > _MAX_TRAILING:
        raise InputError(
            f"{shown(path)}: longer than the {expected} bytes that its header announces",
            "the header is wrong, or this is not a volume",
        )
    _check_end(stream, path)
    return values


def check_length(stream: BufferedIOBase, path: Path, expected: int) -> None:
    """Raise InputError if the content is shorter than ``expected`` bytes, mostly without reading it.

    The size of a plain file tells, and the length at the end of a gzip file. Where that length is another
    one (the file is cut, or has several parts, of which it is the last one's) the content is read.
    """
    _check_size(stream, path, expected)
    if not isinstance(stream, gzip.GzipFile):
        return
    with path.open("rb") as plain:
        plain.seek(max(path.stat().st_size - 4, 0))
        length = int.from_bytes(plain.read(4), "little")  # modulo 2^32, RFC 1952
    if length == expected % (1 << 32):
        return
    position = stream.tell()
    position += _skip(stream, expected - position)
    if position < expected:
        raise _truncated(path, expected, f"{position}")
    _skip(stream, _MAX_TRAILING)
    _check_end(stream, path)


def _check_regular(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a null byte, or characters the file system cannot encode
        raise InputError(f"{shown(path)}: not a possible file name", "check the path") from error
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown(path)}: not a file", "give the path of one image")


def _check_suffix(path: Path, zipped: bool) -> None:
    if zipped != (path.suffix.lower() == ".gz"):
        if zipped:
            raise InputError(
                f"{shown(path)}: gzip-compressed, without .gz in its name", "add .gz to its name"
            )
        size = path.stat().st_size
        raise InputError(
            f"{shown(path)}: not gzip/NIfTI ({size} bytes)",
            "check that this is the image itself; an uncompressed one is named .nii",
        )


def _some(stream: BufferedIOBase, most: int) -> bytes:
    """The next bytes, at most ``most``; none at the end, also of a truncated gzip file."""
    try:
        return stream.read1(min(most, _PIECE))
    except EOFError:
        return b""


def _skip(stream: BufferedIOBase, count: int) -> int:
    """Skip up to ``count`` bytes. Returns how many there were."""
    done = 0
    while done < count and (piece := _some(stream, count - done)):
        done += len(piece)
    return done


def _check_size(stream: BufferedIOBase, path: Path, expected: int) -> None:
    size = path.stat().st_size
    if not isinstance(stream, gzip.GzipFile):
        if size < expected:
            raise _truncated(path, expected, f"{size}")
    elif size * _DEFLATE_LIMIT < expected:
        raise _truncated(path, expected, f"at most {size * _DEFLATE_LIMIT} ({size} compressed)")


def _check_end(stream: BufferedIOBase, path: Path) -> None:
    """Raise InputError unless the stream ends here; reading to the end verifies gzip's check sum."""
    try:
        stream.read(1)
    except EOFError as error:
        raise InputError(
            f"{shown(path)}: truncated: the end of the gzip file, its check sum, is missing",
            _COPY_AGAIN,
        ) from error


def _truncated(path: Path, expected: int, actual: str) -> InputError:
    return InputError(
        f"{shown(path)}: truncated: expected {expected} bytes, found {actual}", _COPY_AGAIN
    )
