"""What of a source slice stays in the slice that is derived from it.

Values are carried as they are stored, without decoding them, so that neither unusual character sets nor
faulty numbers change. What belongs to the old pixels goes, and so do private elements, but for a few whose
content is a number or a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from petrt.errors import InputError
from petrt.io.dicom import encoded, multiframe
from petrt.io.dicom.derivation import code
from petrt.io.dicom.header import PHILIPS
from petrt.io.dicom.origin import Plane

if TYPE_CHECKING:
    from pydicom import Dataset

# Tied to the old pixels, to the old file, or (the last line) to records of what the data were before.
_DROPPED = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries"),
    *("LargestPixelValueInSeries", "SmallestImagePixelValueInPlane"),
    *("LargestImagePixelValueInPlane", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *(
        "ModalityLUTSequence",
        "VOILUTSequence",
        "RealWorldValueMappingSequence",
        "IconImageSequence",
    ),
    *("NumberOfFrames", "FrameIncrementPointer", "ExtendedOffsetTable", "PixelDataProviderURL"),
    *("ExtendedOffsetTableLengths", "DataSetTrailingPadding", "MACParametersSequence"),
    *("DigitalSignaturesSequence", "InstanceCreationDate", "InstanceCreationTime"),
    *("InstanceCreatorUID", "SourceImageSequence", "DerivationCodeSequence"),
    *("DerivationDescription", "ConversionSourceAttributesSequence", "RetrieveURL"),
    *("RetrieveAETitle", "InstanceAvailability", "StorageMediaFileSetID"),
    *("StorageMediaFileSetUID", "OriginalAttributesSequence", "ModifiedAttributesSequence"),
    "EncryptedAttributesSequence",
)
# Overlays (60xx), curves (50xx), pixels and what lies behind them, and the groups of commands and files.
_DROPPED_GROUPS = (0x0000, 0x0002, 0x5000, 0x6000, 0x7FE0, 0xFFFA, 0xFFFC)
_REPEATING = 0xFF00
# Private elements that the values need: group, creator, and their last bytes. GE: the scan's date and time,
# and the times of measuring and giving the dose. Siemens: the time of decay correction.
_SAFE = (
    (*PHILIPS, (0x00, 0x09)),
    (0x0009, "GEMS_PETD_01", (0x0D, 0x39, 0x3B, 0x3D)),
    (0x0071, "SIEMENS MED PT", (0x22,)),
)
_PURPOSE = 0x0040A170  # PurposeOfReferenceCodeSequence
_NUMBER_OR_TIME = re.compile(r"[0-9.eE+-]{1,26}")


def template(fields: Dataset, plane: Plane) -> Dataset:
    """What the slice derived from ``plane``, whose file has ``fields``, keeps of it, without pixels.

    Raises InputError for pixels with text burned in, which may name the patient.
    """
    if str(fields.get("BurnedInAnnotation") or "").strip() == "YES":
        raise InputError(
            f"{plane.header.label}: text is burned into its pixels (BurnedInAnnotation)",
            "remove the text first",
        )
    dataset = carried(fields)
    dataset.SOPClassUID, dataset.Modality = multiframe.PET_IMAGE, "PT"
    return dataset


def source_reference(plane: Plane) -> Dataset | None:
    """The item of SourceImageSequence for a slice; None if the source has no SOPInstanceUID."""
    from pydicom import Dataset

    uid = plane.header.text("SOPInstanceUID")
    if not uid:
        return None
    item = Dataset()
    item.ReferencedSOPClassUID = plane.header.text("SOPClassUID") or multiframe.PET_IMAGE
    item.ReferencedSOPInstanceUID = uid
    if multiframe.is_multi_frame(plane.header):
        item.ReferencedFrameNumber = plane.index + 1
    item.SpatialLocationsPreserved = "YES"
    purpose = code("121322", "Source image for image processing operation")
    item[_PURPOSE] = encoded.sequence(_PURPOSE, [purpose])
    return item


def carried(source: Dataset) -> Dataset:
    """A copy of ``source`` without what does not stay, also in its items, in explicit VR, little endian."""
    from pydicom import Dataset

    kept, private = Dataset(), set()
    for tag in source.keys():  # noqa: SIM118 - iterating a Dataset converts its values
        if tag.is_private:
            private.add(tag.group)
        elif _stays(int(tag)) and (element := _carried_element(source, tag)) is not None:
            kept[tag] = element
    _keep_safe(source, kept, private)
    # So that pydicom writes stored values as they are.
    kept.set_original_encoding(False, True, kept._character_set)
    return kept


@lru_cache
def _dropped_tags() -> frozenset[int]:
    from pydicom.datadict import tag_for_keyword

    return frozenset(filter(None, map(tag_for_keyword, _DROPPED)))


def _stays(tag: int) -> bool:
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:  # a group's length
        return False
    if group in _DROPPED_GROUPS or group & _REPEATING in (0x5000, 0x6000):
        return False
    return tag not in _dropped_tags()


def _carried_element(source: Dataset, tag: Any) -> Any:
    """An element as it is stored, with its type; None for one that cannot be understood."""
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

    element = source.get_item(tag)
    kind = element.VR
    try:
        if kind in (None, "UN"):
            kind = dictionary_VR(tag)
        if len(kind) != 2 or kind == "UN":
            return None  # nobody knows what is in it
        if kind != "SQ" and element.is_raw and element.is_little_endian:
            value = element.value or b""
            filler = b"\0" if kind in ("UI", "OB") else b" "
            value += filler * (len(value) % 2)
            if len(value) > 0xFFFF and kind not in EXPLICIT_VR_LENGTH_32:
                return None  # explicit VR has no room for its length
            return element._replace(VR=kind, value=value, length=len(value), is_implicit_VR=False)
        decoded = source[tag]
        if decoded.VR == "SQ":
            return _carried_sequence(tag, decoded.value)
        return decoded if kind == decoded.VR else None
    except Exception:  # pydicom raises many kinds of errors for a damaged element
        return None


def _carried_sequence(tag: Any, items: Sequence[Dataset]) -> Any:
    key = ("carried", encoded.signature(items))
    content = encoded.remembered(key)
    if content is None:
        element = encoded.sequence(tag, [carried(item) for item in items])
        encoded.remember(key, element.value or b"")
        return element
    return encoded.element(tag, content)


def _keep_safe(source: Dataset, kept: Dataset, groups: set[int]) -> None:
    for group, creator, elements in _SAFE:
        if group not in groups:
            continue
        try:
            block = source.private_block(group, creator)
        except KeyError:
            continue
        for element in elements:
            text = _plain(block, element) if element in block else ""
            if text:
                own = kept.private_block(group, creator, create=True)
                own.add_new(element, "DS" if group == PHILIPS[0] else "DT", text)


def _plain(block: Any, element: int) -> str:
    """The value of a private element, if it is nothing but a number or a time; else ""."""
    try:
        value = block[element].value
        text = value.decode("ascii") if isinstance(value, bytes) else str(value)
    except Exception:  # as above
        return ""
    text = text.strip("\0 ")
    return text if _NUMBER_OR_TIME.fullmatch(text) else ""
