"""Sequences as the bytes that stand in a file, explicit VR little endian.

The slices of a series share most of their sequences, and encoding them takes longer than all else in writing
a slice. So equal sequences are encoded once.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataelem import RawDataElement

# A series has some ten that its slices share, and some that each has of its own.
_MOST = 64
_ANY = 0x00081140  # its number is not among the bytes of its items
_known: OrderedDict[Any, bytes] = OrderedDict()
_lock = Lock()


def sequence(tag: int, items: Iterable[Dataset]) -> RawDataElement:
    """An element of type SQ with ``items``, which are as they are to be written."""
    return element(tag, _bytes(list(items)))


def element(tag: int, content: bytes) -> RawDataElement:
    """An element of type SQ with the bytes of its items."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    return RawDataElement(Tag(tag), "SQ", len(content), content, 0, False, True)


def file_bytes(dataset: Dataset) -> bytes:
    """The whole file of a dataset. Most elements are as they are stored, and are written so; pydicom would take
    a buffer for each."""
    from pydicom import Dataset, dcmwrite
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element

    start = Dataset()
    start.file_meta = dataset.file_meta
    stream = DicomBytesIO()
    dcmwrite(stream, start, enforce_file_format=True)
    stream.is_little_endian, stream.is_implicit_VR = True, False
    encodings = dataset._character_set
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        if element.is_raw and element.VR is not None:
            stream.write(_stored(element))
        else:
            write_data_element(stream, element, encodings)
    return stream.getvalue()


def _stored(element: Any) -> bytes:
    """A stored element with its tag, type and length (PS3.5, 7.1.2)."""
    from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

    value = element.value or b""
    long = element.VR in EXPLICIT_VR_LENGTH_32
    if len(value) > 0xFFFF and not long:
        raise ValueError(f"{len(value)} bytes in an element of type {element.VR}")
    form = "<HH2s2xI" if long else "<HH2sH"
    tag = element.tag
    return struct.pack(form, tag.group, tag.element, element.VR.encode(), len(value)) + value


def remembered(signature: Any) -> bytes | None:
    """The bytes of a sequence that was encoded lately."""
    with _lock:
        found = _known.get(signature)
        if found is not None:
            _known.move_to_end(signature)
        return found


def remember(signature: Any, content: bytes) -> None:
    """Keep the bytes of a sequence for the slices that follow."""
    with _lock:
        _known[signature] = content
        while len(_known) > _MOST:
            _known.popitem(last=False)


def signature(items: Iterable[Dataset]) -> Any:
    """What two sequences have in common if they are equal as they are stored. Nothing is decoded."""
    return tuple(
        tuple((int(tag), *_content(item, tag)) for tag in item.keys())  # noqa: SIM118
        for item in items
    )


def _content(item: Dataset, tag: Any) -> tuple[Any, ...]:
    element = item.get_item(tag)
    value = element.value
    if element.VR == "SQ" and not element.is_raw:
        return "SQ", signature(value)
    if element.is_raw:
        return element.VR, value, element.is_little_endian
    return element.VR, str(value)


def _bytes(items: list[Dataset]) -> bytes:
    from pydicom import DataElement, Sequence
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_sequence

    key = ("written", signature(items))
    content = remembered(key)
    if content is None:
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        write_sequence(stream, DataElement(_ANY, "SQ", Sequence(items)), ["iso8859"])
        content = stream.getvalue()
        remember(key, content)
    return content
