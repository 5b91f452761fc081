"""One received DICOM object: what the queue must know of it, and whether it is an image of a PET series."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from petrt.errors import InputError
from petrt.io.dicom import multiframe
from petrt.io.dicom.catalogue import is_pet
from petrt.io.dicom.derivation import key_and_files
from petrt.io.dicom.files import DicomFile
from petrt.io.dicom.header import Header, read_headers
from petrt.io.dicom.pixels import check_pixels

# Status of C-STORE (PS3.4 B.2.3 and PS3.7 C).
SUCCESS, NOT_SUPPORTED, DUPLICATE = 0x0000, 0x0122, 0x0111
FULL, OTHER_CLASS, UNREADABLE, FAULT = 0xA700, 0xA900, 0xC000, 0x0110
PET_CLASSES = (multiframe.PET_IMAGE, *multiframe.MULTI_FRAME)

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64


class Refused(Exception):
    """An object that is not taken. ``status`` is that of C-STORE; the text names no patient and no UID.

    ``again``: it may be taken later, when the queue has room."""

    def __init__(self, status: int, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.status, self.reason, self.again = status, reason, again


@dataclass(frozen=True)
class Received:
    """An object of a PET series: its UIDs, and the bytes of its file.

    ``expected``: how many objects the series has by its header, 0 if the header does not say so.
    """

    series: str
    instance: str
    expected: int
    content: bytes


def examine(content: bytes, sop_class: str | None = None, instance: str | None = None) -> Received:
    """Look at the ``content`` of a DICOM file.

    ``sop_class`` and ``instance``: what the sender says of it, where it says anything. Raises Refused for
    what is damaged, no image of a PET series, not what was announced, or a result of petrt itself, which
    would go round in circles.
    """
    file = DicomFile("object", len(content), True, lambda: io.BytesIO(content))
    try:
        ((series, (header,)),) = read_headers([file]).items()
        kind, own = header.text("SOPClassUID"), header.text("SOPInstanceUID")
        if not is_pet(header) or kind not in PET_CLASSES:
            raise Refused(OTHER_CLASS, "not an image of a PET series")
        if (sop_class or kind, instance or own) != (kind, own):
            raise Refused(OTHER_CLASS, "its UIDs are not those that were announced")
        if not (is_uid(series) and is_uid(own)):
            raise Refused(UNREADABLE, "without valid UIDs")
        check_pixels(header, multiframe.count(header))
        expected = _expected(header)
    except InputError as error:
        raise Refused(UNREADABLE, error.message) from error
    except ValueError as error:  # a DICOMDIR, or no image at all
        raise Refused(UNREADABLE, "no DICOM image") from error
    if _is_ours(content):
        raise Refused(OTHER_CLASS, "derived by petrt already")
    return Received(series, own, expected, content)


def is_uid(text: str) -> bool:
    """Whether this is a UID by its characters and length (PS3.5 9.1)."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def _expected(header: Header) -> int:
    """Objects in the series by its header, where it has one slice in each."""
    if multiframe.count(header) > 1 or not header.has("NumberOfSlices"):
        return 0
    several = 1
    kinds = header.words("SeriesType")
    # Whole-body series of GE count their beds in NumberOfTimeSlices.
    fields = {
        "DYNAMIC": ("NumberOfTimeSlices",),
        "GATED": ("NumberOfTimeSlots", "NumberOfRRIntervals"),
    }
    for kind in fields.keys() & set(kinds):
        for field in fields[kind]:
            several *= max(1, _number(header, field))
    return several * max(0, _number(header, "NumberOfSlices"))


def _number(header: Header, field: str) -> int:
    return int(header.numbers(field)[0]) if header.has(field) else 0


def _is_ours(content: bytes) -> bool:
    from pydicom import dcmread

    field = "ContributingEquipmentSequence"
    try:
        tags = dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=[field])
        return key_and_files(tags) is not None
    except Exception:  # pydicom raises many kinds of errors for a damaged element
        return False
