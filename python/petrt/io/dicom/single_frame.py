"""The frames of a multi-frame PET file as slices of their own, with the fields that such files have.

Functional groups give most of them (petrt.io.dicom.multiframe). What a PET slice must state besides (PS3.3
C.8.9.1 and C.8.9.4) follows from the place of the frame in its series.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from petrt.errors import InputError
from petrt.io.dicom import multiframe
from petrt.io.dicom.files import DicomFile
from petrt.io.dicom.header import Header
from petrt.io.dicom.origin import PetSeries, Plane

if TYPE_CHECKING:
    from pydicom import Dataset

# What only multi-frame files have.
_OF_FRAMES = (
    *("DimensionOrganizationSequence", "DimensionIndexSequence", "DimensionOrganizationType"),
    *("DimensionIndexValues", "StackID", "InStackPositionNumber", "FrameType", "FrameLabel"),
    *("ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber"),
    *("ConcatenationFrameOffsetNumber", "SOPInstanceUIDOfConcatenationSource", "PixelPresentation"),
    *("VolumetricProperties", "VolumeBasedCalculationTechnique", "ComplexImageComponent"),
    *("RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped", "RealWorldValueSlope"),
    *("RealWorldValueIntercept", "LUTLabel", "LUTExplanation", "MeasurementUnitsCodeSequence"),
)


def read_again(header: Header) -> Dataset:
    """All fields of the file of a slice but its pixels. Raises InputError if it cannot be read any more."""
    from pydicom import dcmread

    try:
        with header.file.open() as stream:
            return dcmread(stream, stop_before_pixels=True, force=True)
    except InputError:
        raise
    except Exception as error:  # pydicom raises many kinds of errors for a damaged file
        raise InputError(
            f"{header.label}: cannot be read again ({type(error).__name__})",
            "leave the input as it is while it is in use",
        ) from error


class Sources:
    """Gives the fields of slices; a multi-frame file is read once for the slices from it that follow."""

    def __init__(self, series: PetSeries) -> None:
        self._series = series
        self._file: DicomFile | None = None
        self._frames: list[Header] = []

    def fields(self, t: int, k: int) -> Dataset:
        """The fields of slice k of frame t, without pixels, as those of a file of one slice."""
        from pydicom import Dataset

        plane = self._series.frames[t][k]
        if not multiframe.is_multi_frame(plane.header):
            return read_again(plane.header)
        if self._file is not plane.header.file:
            whole = Header(plane.header.file, read_again(plane.header), None)
            self._frames, self._file = multiframe.frames_of(whole), plane.header.file
        if plane.index >= len(self._frames):
            raise InputError(
                f"{plane.header.label}: {len(self._frames)} frames, expected {plane.index + 1}",
                "leave the input as it is while it is in use",
            )
        dataset = Dataset()
        dataset.update(dict(self._frames[plane.index].tags.items()))
        for keyword in _OF_FRAMES:
            if keyword in dataset:
                del dataset[keyword]
        _complete(dataset, self._series, t, k)
        return dataset


def _complete(dataset: Dataset, series: PetSeries, t: int, k: int) -> None:
    """Add what a slice must state and a frame of a multi-frame file states otherwise, or not at all."""
    times, slices = len(series.frames), len(series.frames[0])
    dataset.InstanceNumber = dataset.ImageIndex = t * slices + k + 1
    dataset.NumberOfSlices = slices
    began = _moment(dataset, "AcquisitionDate", "AcquisitionTime")
    first = min(filter(None, (_began(plane) for plane in series.frames[0])), default=None)
    if not dataset.get("SeriesDate") and first is not None:
        dataset.SeriesDate, dataset.SeriesTime = f"{first:%Y%m%d}", f"{first:%H%M%S.%f}"
    start = _moment(dataset, "SeriesDate", "SeriesTime")
    if "FrameReferenceTime" not in dataset and began is not None and start is not None:
        reference = _parsed(str(dataset.get("FrameReferenceDateTime") or "")) or began
        dataset.FrameReferenceTime = f"{1000 * (reference - start).total_seconds():.10g}"
    if "CountsSource" not in dataset:
        dataset.CountsSource = "EMISSION"
    gated = times > 1 and "TriggerTime" in dataset
    if "SeriesType" not in dataset:
        kind = "GATED" if gated else "DYNAMIC" if times > 1 else "STATIC"
        dataset.SeriesType = [kind, "IMAGE"]
        if gated:
            dataset.NumberOfRRIntervals, dataset.NumberOfTimeSlots = 1, times
        elif times > 1:
            dataset.NumberOfTimeSlices = times


def _began(plane: Plane) -> datetime | None:
    return _moment(plane.header.tags, "AcquisitionDate", "AcquisitionTime")


def _moment(dataset: Dataset, date: str, time: str) -> datetime | None:
    return _parsed(f"{dataset.get(date) or ''}{dataset.get(time) or ''}")


def _parsed(text: str) -> datetime | None:
    """A DICOM date and time, without its time zone."""
    text = text.partition("+")[0].partition("-")[0].strip()
    for form in ("%Y%m%d%H%M%S.%f", "%Y%m%d%H%M%S"):
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None
