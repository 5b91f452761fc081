"""The files of a DICOM folder, list or zip archive.

Messages give a file's number, not its name: file and folder names often contain patients' names.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from petrt.errors import InputError
from petrt.io.dicom.bounded import bounded
from petrt.io.dicom.directory import is_directory, listed_files

Source = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
# A slice of 440 x 440 takes 0.4 MB, an archive of sixteen total-body volumes about 4 GiB. Members are
# unpacked in memory, so these limits protect against hostile archives.
_LARGEST_MEMBER = 1 << 28
_LARGEST_ARCHIVE = 1 << 32
# So many files are looked at to find out whether a folder holds DICOM.
_MOST_LOOKED_AT = 2_000
_COPY_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class DicomFile:
    """One file, perhaps not DICOM. ``label``: "file 12 of 267", numbered by name or as listed."""

    label: str
    size: int
    named_dicom: bool
    open: Callable[[], BinaryIO]


@contextmanager
def dicom_files(source: Source) -> Iterator[list[DicomFile]]:
    """All files, without hidden ones, of a folder with its subfolders, a list, or a zip archive.

    One DICOM file stands for itself, a DICOMDIR for the files that it lists.

    A zip archive stays open inside the context, and opens again for a member wanted later; nothing is
    written to disk. Raises InputError if
    ``source`` does not exist, and for an archive that is damaged, encrypted, too large when unpacked,
    or has members outside its own folder.
    """
    if not isinstance(source, str | os.PathLike):
        yield _on_disk([Path(path) for path in source])
        return
    path = Path(source)
    if path.is_dir():
        yield _on_disk(_visible(path))
    elif path.is_file() and zipfile.is_zipfile(path):
        with _unpacked(path) as files:
            yield files
    elif path.is_file() and is_dicom_file(path):
        yield _on_disk(listed_files(path) if is_directory(path) else [path])
    elif path.is_file():
        raise InputError(
            "one file is not a DICOM series or zip archive", "give the folder of the series"
        )
    else:
        raise InputError("DICOM: no such folder or zip archive", "check the path")


def is_dicom_file(path: Path) -> bool:
    """Whether a file that can be read is DICOM by its name or its first bytes."""
    if path.suffix.lower() in _DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def holds_dicom(folder: Path) -> bool:
    """Whether a folder or a folder in it holds DICOM files: by their names, then by their first bytes."""
    paths = _visible(folder)
    if any(path.suffix.lower() in _DICOM_SUFFIXES for path in paths):
        return True
    return any(is_dicom_file(path) for path in paths[:_MOST_LOOKED_AT])


def _visible(folder: Path) -> list[Path]:
    paths = []
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            paths += [Path(parent, name) for name in names if not name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"DICOM folder: cannot be listed: {error.strerror}", "check its permissions"
        ) from error
    return sorted(path for path in paths if path.is_file())


def _raise(error: OSError) -> None:
    raise error


def _on_disk(paths: list[Path]) -> list[DicomFile]:
    files = []
    for number, path in enumerate(paths, start=1):
        label = f"file {number} of {len(paths)}"
        try:
            state = os.stat(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{label}: no such file", "check the list of files") from error
        if not stat.S_ISREG(state.st_mode):
            raise InputError(f"{label}: not a file", "list the slices of one series")
        named = path.suffix.lower() in _DICOM_SUFFIXES
        files.append(DicomFile(label, state.st_size, named, partial(_opened, path, label)))
    return files


def _opened(path: Path, label: str) -> BinaryIO:
    try:
        return bounded(path)
    except OSError as error:
        raise InputError(
            f"{label}: cannot be opened: {error.strerror}", "check its permissions"
        ) from error


@contextmanager
def _unpacked(path: Path) -> Iterator[list[DicomFile]]:
    archive = _Archive(path)
    try:
        members = [info for info in archive.opened().infolist() if not info.is_dir()]
        _check_members(members)
        visible = sorted((info for info in members if not _hidden(info)), key=lambda i: i.filename)
        files = []
        for number, info in enumerate(visible, start=1):
            label = f"file {number} of {len(visible)} in the zip archive"
            named = info.filename.lower().endswith(_DICOM_SUFFIXES)
            opener = partial(_unpacked_member, archive, info, label)
            files.append(DicomFile(label, info.file_size, named, opener))
        yield files
    finally:
        archive.close()


class _Archive:
    """A zip archive that opens again when a member is wanted after the reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip: zipfile.ZipFile | None = None
        self._lock = threading.Lock()

    def opened(self) -> zipfile.ZipFile:
        with self._lock:
            if self._zip is None:
                try:
                    self._zip = zipfile.ZipFile(self._path)
                except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
                    raise InputError("zip archive: damaged", _COPY_AGAIN) from error
            return self._zip

    def close(self) -> None:
        with self._lock:
            if self._zip is not None:
                self._zip.close()
                self._zip = None


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    return PurePosixPath(info.filename.replace("\\", "/")).parts


def _hidden(info: zipfile.ZipInfo) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in _parts(info))


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    """Check names, encryption and sizes in the archive's table; zipfile never unpacks more than it says."""
    for info in members:
        parts = _parts(info)
        if ".." in parts or parts[:1] == ("/",) or parts[0].endswith(":"):
            raise InputError("zip archive: a member lies outside its folder", "pack it anew")
        if info.flag_bits & 1:
            raise InputError("zip archive: encrypted", "unpack it first")
    total = sum(info.file_size for info in members)
    largest = max((info.file_size for info in members), default=0)
    if largest > _LARGEST_MEMBER or total > _LARGEST_ARCHIVE:
        raise InputError(
            f"zip archive: unpacks to {total} bytes, its largest member to {largest}; the limits "
            f"are {_LARGEST_ARCHIVE} and {_LARGEST_MEMBER}",
            "unpack it first, and give the folder",
        )


def _unpacked_member(archive: _Archive, info: zipfile.ZipInfo, label: str) -> BinaryIO:
    try:
        return io.BytesIO(archive.opened().read(info))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise InputError(f"{label}: damaged ({type(error).__name__})", _COPY_AGAIN) from error
