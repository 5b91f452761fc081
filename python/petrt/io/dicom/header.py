"""Reads the headers of DICOM files and sorts them by series.

No message contains text that could name a patient. pydicom's own messages quote values, so they are
suppressed.
"""

from __future__ import annotations

import logging
import math
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

from petrt.errors import InputError
from petrt.io.dicom.files import DicomFile

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

logger = logging.getLogger(__name__)

_DICOMDIR = "1.2.840.10008.1.3.10"
_MAGIC_END = 132
_LONGEST_TEXT = 64
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LONGEST_META = 2048
# A deflated file is inflated in memory; 640 slices of 440 x 440 in one file take 0.25 GB.
_MOST_INFLATED = 1 << 28
_TAGS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "InstanceNumber"),
    *("Modality", "Manufacturer", "ManufacturerModelName", "SeriesDescription", "SeriesNumber"),
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime"),
    *("AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "TimezoneOffsetFromUTC"),
    *("NumberOfSlices", "NumberOfFrames", "NumberOfTimeSlices", "NumberOfTimeSlots"),
    *("NumberOfRRIntervals", "SeriesType", "ImageIndex", "EnergyWindowRangeSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "PatientPosition"),
    *("SpacingBetweenSlices", "SliceThickness", "SliceLocation"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "LossyImageCompression"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("Units", "RescaleSlope", "RescaleIntercept", "CorrectedImage", "DecayCorrection", "SUVType"),
    *("DecayFactor", "DoseCalibrationFactor", "FrameReferenceTime", "ActualFrameDuration"),
    *("TriggerTime", "FrameTime", "NominalInterval", "LowRRValue", "HighRRValue"),
    *("TemporalPositionIdentifier", "TemporalPositionIndex"),
    *("PatientWeight", "PatientSize", "PatientSex", "PatientAge"),
    *("RadiopharmaceuticalInformationSequence", "GatedInformationSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    # What Enhanced PET states for all its frames.
    *("DecayCorrected", "DecayCorrectionDateTime", "AttenuationCorrected", "ScatterCorrected"),
    *("DeadTimeCorrected", "RandomsCorrected", "GantryMotionCorrected", "PatientMotionCorrected"),
    *("CountLossNormalizationCorrected", "NonUniformRadialSamplingCorrected"),
    *("SensitivityCalibrated", "DetectorNormalizationCorrection", "DimensionIndexSequence"),
)
# Private elements by group, creator, and the last byte of their numbers.
PHILIPS = (0x7053, "Philips PET Private Group")  # 00: SUVbw of a value, 09: Bq/ml of a value
GE = (0x0009, "GEMS_PETD_01")  # 0D: the scan's date and time
_PRIVATE = ((*PHILIPS, (0x00, 0x09)), (*GE, (0x0D,)))


@cache
def _tags() -> tuple[int, ...]:
    """What is read of a file. A creator may have reserved any block of its group: the first 16 are read."""
    from pydicom.datadict import tag_for_keyword

    private: list[int] = []
    for group, _, elements in _PRIVATE:
        for block in range(0x10, 0x20):
            private.append(group << 16 | block)
            private += [group << 16 | block << 8 | element for element in elements]
    return (*filter(None, map(tag_for_keyword, _TAGS)), *private)


@dataclass(frozen=True)
class Header:
    """The fields of one file. ``stored``: number of bytes after them, None if they are compressed.

    ``whole``: its pixels can be read only with the whole file, which is deflated or does not begin as
    DICOM files do. ``syntax``: the UID of its transfer syntax, "" if the file does not state it.
    """

    file: DicomFile
    tags: Dataset
    stored: int | None
    whole: bool = False
    syntax: str = ""

    @property
    def label(self) -> str:
        return self.file.label

    def text(self, keyword: str) -> str:
        """A field's text on one line, at most 64 characters; "" if it is absent or unreadable."""
        value = self._value(keyword)
        text = "" if value is None else str(value).strip()
        return "".join(char if char.isprintable() else "?" for char in text)[:_LONGEST_TEXT]

    def words(self, keyword: str) -> tuple[str, ...]:
        """The values of a field with several, such as CorrectedImage; () if it is absent."""
        value = self._value(keyword)
        several = [value] if isinstance(value, str) or value is None else value
        try:
            return tuple(str(each).strip() for each in several if each not in (None, ""))
        except TypeError:
            return ()

    def numbers(self, keyword: str, count: int = 1) -> tuple[float, ...]:
        """A field's ``count`` finite numbers. Raises InputError if it is absent or holds anything else."""
        value = self._value(keyword)
        if value is None or value == "":
            raise InputError(f"{self.label}: DICOM field {keyword} is absent", "export it again")
        try:
            found = tuple(float(number) for number in (value if count > 1 else [value]))
        except (TypeError, ValueError):
            found = ()
        if len(found) != count or not all(map(math.isfinite, found)):
            expected = "a finite number" if count == 1 else f"{count} finite numbers"
            raise InputError(f"{self.label}: DICOM field {keyword} is not {expected}", "repair it")
        return found

    def has(self, keyword: str) -> bool:
        return self._value(keyword) not in (None, "")

    def items(self, keyword: str) -> list[Header]:
        """The items of a sequence; an empty list if it is absent."""
        value = self._value(keyword)
        items = [] if value is None or isinstance(value, str) else value
        try:
            return [Header(self.file, item, None) for item in items]
        except TypeError:  # not a sequence
            return []

    def private(self, group: int, creator: str, element: int) -> Any:
        """The value of a private element, such as ``private(*PHILIPS, 0x09)``; None if it is absent."""
        try:
            return self.tags.private_block(group, creator)[element].value
        except KeyError:
            return None
        except Exception:  # as in _value
            return "unreadable"

    def _value(self, keyword: str) -> Any:
        tag = _tag(keyword)
        try:
            return self.tags[tag].value if tag in self.tags else None
        except Exception:  # pydicom converts a value on access and raises many kinds of errors
            return "unreadable"


@cache
def _tag(keyword: str) -> BaseTag:
    from pydicom.tag import Tag

    return Tag(keyword)


_quiet_lock = threading.Lock()
_quiet_users: list[ExitStack] = []  # what the first of them changed, then one for each other


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress pydicom's warnings and log lines, which quote values that may name patients.

    Several threads may be inside at once: the last to leave restores what the first one found.
    """
    with _quiet_lock:
        undo = ExitStack() if _quiet_users else _silenced()
        _quiet_users.append(undo)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users.pop().close()


def _silenced() -> ExitStack:
    from pydicom import config

    undo = ExitStack()
    pydicom_logger = logging.getLogger("pydicom")
    undo.callback(setattr, pydicom_logger, "disabled", pydicom_logger.disabled)
    pydicom_logger.disabled = True
    undo.enter_context(config.disable_value_validation())
    undo.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    return undo


def read_headers(files: list[DicomFile]) -> dict[str, list[Header]]:
    """Series UID -> headers of its files. Other files are skipped, and a log line gives their number.

    So are files that cannot be read and are not named as DICOM. Raises InputError if there is no DICOM
    file, and for a file named as DICOM that is none or cannot be read.
    """
    series: dict[str, list[Header]] = {}
    others, unreadable = 0, 0
    for file in files:
        try:
            with file.open() as stream:
                header = _read_header(file, stream)
            uid = "" if header is None else _series_uid(header)
        except InputError:
            if file.named_dicom:
                raise
            unreadable += 1
            continue
        if header is None:
            others += 1
        else:
            series.setdefault(uid, []).append(header)
    if unreadable:
        logger.warning("%d of %d files cannot be read and are skipped", unreadable, len(files))
    if not series:
        raise InputError(
            f"no DICOM image among {len(files)} files", "give the folder of one PET series"
        )
    if others:
        logger.info("%d of %d files are not DICOM images and are skipped", others, len(files))
    return series


def _series_uid(header: Header) -> str:
    uid = header.text("SeriesInstanceUID")
    if not uid:
        raise InputError(
            f"{header.label}: DICOM field SeriesInstanceUID is absent", "remove this file"
        )
    return uid


def _read_header(file: DicomFile, stream: BinaryIO) -> Header | None:
    from pydicom import dcmread

    start = stream.read(_MAGIC_END)
    bare = start[128:] != b"DICM"
    if bare and not _begins_as_elements(start):
        if file.named_dicom:
            raise InputError(
                f"{file.label}: named as DICOM but is not DICOM ({file.size} bytes)",
                "copy or download it again, or remove it",
            )
        return None
    if not bare and _DEFLATED in start + stream.read(_LONGEST_META):
        _check_inflated(file, stream)
    stream.seek(0)
    try:
        tags = dcmread(stream, stop_before_pixels=True, specific_tags=list(_tags()), force=bare)
        meta = tags.file_meta
        if meta.get("MediaStorageSOPClassUID") == _DICOMDIR:
            return None
        syntax = meta.get("TransferSyntaxUID")
        deflated = syntax is not None and syntax.is_deflated
        plain = not deflated and (bare if syntax is None else not syntax.is_compressed)
        stored = file.size - stream.tell() if plain else None
    except Exception as error:  # pydicom raises many kinds of errors for a damaged file
        if bare and not file.named_dicom:
            return None  # it only looked like one
        raise InputError(
            f"{file.label}: its DICOM header cannot be read ({type(error).__name__})",
            "copy or download it again",
        ) from error
    if bare and not tags.get("SOPClassUID"):
        if file.named_dicom:
            raise InputError(
                f"{file.label}: named as DICOM but holds no image ({file.size} bytes)",
                "copy or download it again, or remove it",
            )
        return None
    return Header(file, tags, stored, bare or deflated, str(syntax or ""))


def _check_inflated(file: DicomFile, stream: BinaryIO) -> None:
    """Raise InputError for a deflated file that fills the memory; pydicom inflates it in one piece."""
    stream.seek(_MAGIC_END)
    first = stream.read(12)  # the length of the meta header: group, element, UL, 4, number
    if first[:8] != b"\x02\x00\x00\x00UL\x04\x00":
        raise InputError(f"{file.label}: deflated, with a damaged meta header", "copy it again")
    stream.seek(int.from_bytes(first[8:], "little"), 1)
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while not inflater.eof and (block := inflater.unconsumed_tail or stream.read(1 << 16)):
            total += len(inflater.decompress(block, 1 << 20))
            if total > _MOST_INFLATED:
                raise InputError(
                    f"{file.label}: inflates to more than {_MOST_INFLATED} bytes",
                    "store it without compression first",
                )
    except zlib.error as error:
        raise InputError(
            f"{file.label}: its DICOM header cannot be read (deflated data are damaged)",
            "copy or download it again",
        ) from error


def _begins_as_elements(start: bytes) -> bool:
    """Whether a file without the preamble of DICOM files begins with DICOM elements.

    The first is of group 2 or 8, little-endian, with its length or two letters for its type behind it.
    """
    if len(start) < 16 or start[:2] not in (b"\x02\x00", b"\x08\x00"):
        return False
    named = start[4:6].isalpha() and start[4:6].isupper()
    return named or int.from_bytes(start[4:8], "little") <= _LONGEST_TEXT
