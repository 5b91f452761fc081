"""Reads a DICOMDIR, the table of contents of a disc: the files that it lists (PS3.3 annex F)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from petrt.errors import InputError
from petrt.io.dicom.bounded import bounded

if TYPE_CHECKING:
    from pydicom import Dataset

_DICOMDIR = "1.2.840.10008.1.3.10"
# A record takes a few hundred bytes: a million slices.
_LARGEST = 1 << 29


def is_directory(path: Path) -> bool:
    """Whether a file is a DICOMDIR, by its content."""
    try:
        with bounded(path) as stream:
            return bool(_meta(stream).get("MediaStorageSOPClassUID") == _DICOMDIR)
    except Exception:  # pydicom raises many kinds for a damaged file, which is said in reading it
        return False


def _meta(stream: BinaryIO) -> Dataset:
    """The elements of group 2, which say what the file is."""
    from pydicom.filereader import read_dataset, read_preamble

    read_preamble(stream, False)
    return read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)


def listed_files(path: Path) -> list[Path]:
    """The image files that a DICOMDIR lists, sorted. Raises InputError if it is damaged, names a file outside
    its folder, or if a file is absent."""
    parts = _listed(path)
    if any(not part or part in (".", "..") or "/" in part for each in parts for part in each):
        raise InputError("DICOMDIR: it names a file outside its folder", "give the folder")
    found = [_there(path.parent, each) for each in parts]
    absent = found.count(None)
    if absent:
        raise InputError(
            f"DICOMDIR: {absent} of the {len(found)} images that it lists are absent",
            "copy the whole disc, or give the folder",
        )
    if not found:
        raise InputError("DICOMDIR: it lists no image", "give the folder")
    return sorted(path for path in found if path is not None)


def _listed(path: Path) -> list[list[str]]:
    from pydicom import dcmread
    from pydicom.multival import MultiValue
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too large")
        with bounded(path) as stream:
            if _meta(stream).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                raise ValueError("deflated")  # pydicom inflates it in one piece
            stream.seek(0)
            records = dcmread(stream).DirectoryRecordSequence
        parts = []
        for record in records:
            if str(record.get("DirectoryRecordType", "")) == "IMAGE":
                name = record.get("ReferencedFileID") or ""
                parts.append([str(p) for p in (name if isinstance(name, MultiValue) else [name])])
        return parts
    except Exception as error:  # as above
        raise InputError(
            f"DICOMDIR: damaged ({type(error).__name__})", "give the folder"
        ) from error


def _there(folder: Path, parts: list[str]) -> Path | None:
    """The file of a record; some systems show the capitals of a disc as small letters."""
    for each in (parts, [part.lower() for part in parts]):
        path = folder.joinpath(*each)
        if path.is_file():
            return path
    return None
