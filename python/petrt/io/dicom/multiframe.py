"""The frames of a multi-frame file (Enhanced PET, Legacy Converted Enhanced PET) as headers of single slices.

Each frame gets the fields that a file of one slice has: those of the file, of its shared functional groups
and of its own (PS3.3 C.7.6.16), and those that Enhanced PET states in other words (PS3.3 A.56 and C.8.22).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from petrt.errors import InputError
from petrt.io.dicom.header import Header

if TYPE_CHECKING:
    from pydicom import Dataset

PET_IMAGE = "1.2.840.10008.5.1.4.1.1.128"
LEGACY_PET = "1.2.840.10008.5.1.4.1.1.128.1"
ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.130"
MULTI_FRAME = (ENHANCED_PET, LEGACY_PET)

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_MAPS = "RealWorldValueMappingSequence"
# Kinds of SUV in g/ml, as in the field SUVType.
_MASSES = ("bw", "lbm", "lbmjames128", "lbmjanma", "ibw")
# UCUM codes of real world values (PS3.16 CID 84 and 85), lower case and without (), and the fields Units and
# SUVType.
_UNITS = {
    "bq/ml": ("BQML", ""),
    "{counts}": ("CNTS", ""),
    "{counts}/s": ("CPS", ""),
    "{propcounts}": ("PROPCNTS", ""),
    "{propcounts}/s": ("PROPCPS", ""),
    "cm2/ml": ("CM2ML", ""),
    "g/ml": ("GML", "BW"),
    **{f"g/ml{{suv{kind}}}": ("GML", kind.upper()) for kind in _MASSES},
    **{f"{{suv{kind}}}g/ml": ("GML", kind.upper()) for kind in _MASSES},
    "cm2/ml{suvbsa}": ("CM2ML", ""),
    "{suvbsa}cm2/ml": ("CM2ML", ""),
    "1/cm": ("1CM", ""),
    "/cm": ("1CM", ""),
}
# Fields of the Enhanced PET Corrections module, and the word of CorrectedImage for YES.
_CORRECTIONS = {
    "DecayCorrected": "DECY",
    "AttenuationCorrected": "ATTN",
    "ScatterCorrected": "SCAT",
    "DeadTimeCorrected": "DTIM",
    "RandomsCorrected": "RAN",
    "GantryMotionCorrected": "MOTN",
    "PatientMotionCorrected": "PMOT",
    "CountLossNormalizationCorrected": "CLN",
    "NonUniformRadialSamplingCorrected": "RADL",
    "SensitivityCalibrated": "DCAL",
    "DetectorNormalizationCorrection": "NORM",
}


def is_multi_frame(header: Header) -> bool:
    """Whether the file's class is one of ``MULTI_FRAME``."""
    return header.text("SOPClassUID") in MULTI_FRAME


def count(header: Header) -> int:
    """The number of frames of a file. Raises InputError if it is no whole number from 1."""
    if not header.has("NumberOfFrames"):
        return 1
    (number,) = header.numbers("NumberOfFrames")
    if number < 1 or number != int(number):
        raise InputError(
            f"{header.label}: DICOM field NumberOfFrames is {number:g}, expected a whole number above 0",
            "repair it",
        )
    return int(number)


def frames_of(header: Header) -> list[Header]:
    """A header for each frame of a multi-frame PET file, in the file's order.

    Raises InputError if the file does not describe each of its frames.
    """
    from pydicom import Dataset
    from pydicom.datadict import tag_for_keyword

    number = count(header)
    own = header.items(_PER_FRAME)
    if len(own) != number:
        raise InputError(
            f"{header.label}: {number} frames, of which DICOM field {_PER_FRAME} describes {len(own)}",
            "export it again",
        )
    groups = {tag_for_keyword(_SHARED), tag_for_keyword(_PER_FRAME)}
    base = {tag: element for tag, element in header.tags.items() if tag not in groups}
    for group in header.items(_SHARED)[:1]:
        base |= _merged(group.tags)
    frames = []
    for item in own:
        tags = Dataset()
        tags.update({**base, **_merged(item.tags)})
        frame = replace(header, tags=tags)
        try:
            _in_usual_words(frame, tags)
        except InputError:
            raise
        except Exception as error:  # as in Header: pydicom converts even a value that is replaced
            raise InputError(
                f"{header.label}: its functional groups cannot be read ({type(error).__name__})",
                "export it again",
            ) from error
        frames.append(frame)
    return frames


def _merged(groups: Dataset) -> dict[Any, Any]:
    """The fields of all functional groups of one item, each a sequence of one item; and the maps of real
    world values, of which there may be several."""
    found: dict[Any, Any] = {}
    for tag in groups.keys():  # noqa: SIM118 - iterating a Dataset converts its values
        try:
            group = groups[tag]
        except Exception:  # as in Header: pydicom raises many kinds of errors
            continue
        if group.VR == "SQ" and group.value:
            found |= dict(group.value[0].items())
            if group.keyword == _MAPS:
                found[tag] = group
    return found


def _in_usual_words(frame: Header, tags: Dataset) -> None:
    """Add the fields of a single slice for what Enhanced PET states in other words."""
    if not frame.has("Units"):
        _units(frame, tags)
    if not frame.has("Units") and frame.text("RescaleType") in {
        unit for unit, _ in _UNITS.values()
    }:
        tags.Units = frame.text("RescaleType")
    if not frame.has("CorrectedImage"):
        words = [word for field, word in _CORRECTIONS.items() if frame.text(field) == "YES"]
        if words or any(frame.has(field) for field in _CORRECTIONS):
            tags.CorrectedImage = words
    if not frame.has("DecayCorrection") and frame.has("DecayCorrected"):
        tags.DecayCorrection = _decay_correction(frame)
    moment = frame.text("FrameAcquisitionDateTime")
    if moment[:14].isdigit():
        tags.AcquisitionDate, tags.AcquisitionTime = moment[:8], moment[8:].partition("+")[0]
    if frame.has("FrameAcquisitionDuration") and not frame.has("ActualFrameDuration"):
        tags.ActualFrameDuration = str(round(frame.numbers("FrameAcquisitionDuration")[0]))
    if frame.has("NominalCardiacTriggerDelayTime") and not frame.has("TriggerTime"):
        tags.TriggerTime = str(frame.numbers("NominalCardiacTriggerDelayTime")[0])


def _decay_correction(frame: Header) -> str:
    if frame.text("DecayCorrected") != "YES":
        return "NONE"
    (drug,) = frame.items("RadiopharmaceuticalInformationSequence")[:1] or (frame,)
    given = drug.text("RadiopharmaceuticalStartDateTime")[:14]
    return "ADMIN" if given and given == frame.text("DecayCorrectionDateTime")[:14] else "START"


def _units(frame: Header, tags: Dataset) -> None:
    """Units, slope and intercept from the first real world value map in a known unit.

    Such a map applies to the stored values, without the rescaling of the pixel values
    (PS3.3 C.7.6.16.2.11).
    """
    for each in frame.items(_MAPS):
        codes = each.items("MeasurementUnitsCodeSequence")
        code = (codes[0].text("CodeValue") or codes[0].text("LongCodeValue")) if codes else ""
        code = code.lower().replace("(", "").replace(")", "")
        if code in _UNITS and each.has("RealWorldValueSlope"):
            tags.Units, kind = _UNITS[code]
            if kind:
                tags.SUVType = kind
            (slope,) = each.numbers("RealWorldValueSlope")
            tags.RescaleSlope = slope
            field = "RealWorldValueIntercept"
            tags.RescaleIntercept = each.numbers(field)[0] if each.has(field) else 0
            return
