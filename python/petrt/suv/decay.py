"""The administered activity at the time that the values of a series refer to."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from petrt.suv import moments
from petrt.suv.fields import (
    dose_bq,
    drug,
    duration_s,
    ge_scan_date_time,
    no_suv,
    one_for_all,
    positive,
)
from petrt.suv.formulas import decay_constant, mean_activity_time, mean_decay, remaining

if TYPE_CHECKING:
    from petrt.io.dicom.header import Header

logger = logging.getLogger(__name__)

# Two ways to one moment may differ by this: fields are rounded, and beds begin with a delay.
_FEW_S = 5.0
# SeriesTime may lie after an acquisition by less than this, if one of them has no fractions of seconds.
_ROUNDING_S = 1.0
# An administration longer ago than this many half-lives is a wrong date: 4096 times less is left.
_MOST_HALF_LIVES = 12.0
# After a day less than a tenth is left of these, so the scan was not days later.
_SHORT_LIVED_S = 6 * 3600.0
_SAME_DECAY = 1e-3
_FRAME_START = "FrameAcquisitionDateTime"
_ZONE = re.compile(r"[+-]\d{4}$")


class Clock:
    """The moments of a series in seconds from one origin, with each slice's time zone taken into account."""

    def __init__(self, headers: Sequence[Header], name: str) -> None:
        self._headers, self._name = headers, name
        zones = {header.text("TimezoneOffsetFromUTC") for header in headers} - {""}
        # Multi-frame files may state it only in their times; the zone is then that of the first.
        zones = zones or set(_ZONE.findall(headers[0].text(_FRAME_START)))
        self._zones = {text: self._zone(text) for text in zones}
        self._usual = next(iter(self._zones.values())) if len(zones) == 1 else 0.0
        self.starts = np.array([self._acquired(header) for header in headers])
        dated = any(h.has("AcquisitionDate") or h.has("AcquisitionDateTime") for h in headers)
        if (
            not dated and np.ptp(self.starts) > moments.DAY / 2
        ):  # over midnight, on a date of the series
            self.starts[self.starts < self.starts.max() - moments.DAY / 2] += moments.DAY
        durations = [duration_s(header) or 0.0 for header in headers]
        self.start = float(self.starts.min())
        self.end = float((self.starts + durations).max())

    @property
    def _first(self) -> Header:
        return self._headers[int(self.starts.argmin())]

    def series(self) -> float | None:
        """SeriesDate and SeriesTime; None if either is absent."""
        return self._pair(self._headers[0], ("SeriesDate",), "SeriesTime")

    def scan_of_ge(self) -> float | None:
        """GE's PET scan_datetime."""
        text = ge_scan_date_time(self._first)
        return self._moment(text, "(0009,100D)", self._first) if text else None

    def corrected_to(self) -> float | None:
        """DecayCorrectionDateTime, which multi-frame files state."""
        text = self._first.text("DecayCorrectionDateTime")
        return self._moment(text, "DecayCorrectionDateTime", self._first) if text else None

    def administered(self, item: Header, half_life: float) -> float:
        """The start of the administration. Raises InputError if it is absent, or no time before the scan.

        A time alone is of the day of the scan, or the day before. A wrong date, such as one that replaces
        the patient's, is left out if a nuclide is so short-lived that only this day is possible.
        """
        field, time_field = "RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime"
        if text := item.text(field):
            moment = self._moment(text, field, self._first)
            if moment > self.end and self._fits(moment - moments.DAY, half_life):
                moment -= moments.DAY
                self._warn(
                    "%s: DICOM field %s lies after the acquisition; it is taken a day earlier",
                    field,
                )
            elif not self._fits(moment, half_life) and half_life < _SHORT_LIVED_S:
                moment = self._latest(moment % moments.DAY)
                self._warn(
                    "%s: DICOM field %s is far from the scan; its date is taken as wrong", field
                )
        elif text := item.text(time_field):
            field = time_field
            moment = self._latest(self._seconds(text, field) - self._offset(self._first))
        else:
            raise no_suv(self._name, "the time of administration is absent")
        if not self._fits(moment, half_life):
            long = f"over {_MOST_HALF_LIVES:g} half-lives before"
            where = "after" if moment > self.end else long
            raise no_suv(self._name, f"DICOM field {field} lies {where} the acquisition")
        return moment

    def _fits(self, moment: float, half_life: float) -> bool:
        return self.start - _MOST_HALF_LIVES * half_life <= moment <= self.end

    def _latest(self, time: float) -> float:
        """The last moment before the end of the scan with this time of the day."""
        return time + (self.end - time) // moments.DAY * moments.DAY

    def _warn(self, text: str, field: str) -> None:
        logger.warning(text, self._name, field)

    def _acquired(self, header: Header) -> float:
        if text := header.text(_FRAME_START):
            return self._moment(text, _FRAME_START, header)
        if header.has("AcquisitionTime"):
            dates = ("AcquisitionDate", "SeriesDate", "StudyDate")
            moment = self._pair(header, dates, "AcquisitionTime")
        else:
            text = header.text("AcquisitionDateTime")
            moment = self._moment(text, "AcquisitionDateTime", header) if text else None
        if moment is None:
            raise no_suv(self._name, "the date or time of acquisition is absent")
        return moment

    def _pair(self, header: Header, dates: Sequence[str], time: str) -> float | None:
        date = next((field for field in dates if header.has(field)), None)
        if date is None or not header.has(time):
            return None
        try:
            start_of_day = moments.day(header.text(date))
        except ValueError as error:
            raise no_suv(self._name, f"DICOM field {date} is not a date") from error
        return start_of_day + self._seconds(header.text(time), time) - self._offset(header)

    def _moment(self, text: str, field: str, header: Header) -> float:
        try:
            moment, own = moments.date_time(text)
        except ValueError as error:
            raise no_suv(self._name, f"DICOM field {field} is not a date and time") from error
        if own is not None and not self._zones:
            logger.warning(
                "%s: DICOM field %s states a time zone, the other times do not; it is taken as theirs",
                *(self._name, field),
            )
            own = 0.0
        return moment - (self._offset(header) if own is None else own)

    def _seconds(self, text: str, field: str) -> float:
        try:
            return moments.time_of_day(text)
        except ValueError as error:
            raise no_suv(self._name, f"DICOM field {field} is not a time") from error

    def _offset(self, header: Header) -> float:
        return self._zones.get(header.text("TimezoneOffsetFromUTC"), self._usual)

    def _zone(self, text: str) -> float:
        try:
            return moments.offset(text)
        except ValueError as error:
            reason = "DICOM field TimezoneOffsetFromUTC is not an offset such as +0100"
            raise no_suv(self._name, reason) from error


def dose_factors(headers: Sequence[Header], name: str) -> NDArray[np.float64]:
    """For each slice c / D in 1/Bq: its value in Bq/ml times this is the part of the dose in a ml.

    D is the dose at the moment t_ref that DecayCorrection names: the administration (ADMIN), or the start
    of the scan (START). For NONE it is the start of the slice's acquisition, and c the decay during it.
    Otherwise c is 1. Raises InputError, with the reason, where a field that this needs is absent.
    """
    item = drug(headers, name)
    dose = dose_bq(item, name)
    correction = one_for_all(headers, "DecayCorrection", name)
    if correction == "ADMIN":
        return np.full(len(headers), 1 / dose)
    if correction not in ("START", "NONE"):
        raise no_suv(name, f"DICOM field DecayCorrection is {correction or 'absent'}")
    half_life = positive(item, "RadionuclideHalfLife")
    if half_life is None:
        raise no_suv(name, "DICOM field RadionuclideHalfLife is absent or 0")
    rate = decay_constant(half_life)
    clock = Clock(headers, name)
    given = clock.administered(item, half_life)
    if correction == "START":
        moment = reference_times(headers, clock, rate, name)
        within = np.ones(len(headers))
    else:
        moment = clock.starts
        durations = [duration_s(header) for header in headers]
        if None in durations:
            raise no_suv(name, "DICOM field ActualFrameDuration is absent or 0")
        within = np.array([mean_decay(rate, duration or 0.0) for duration in durations])
    left = np.array([remaining(rate, float(each) - given) for each in moment])
    return within / (dose * left)


def reference_times(
    headers: Sequence[Header], clock: Clock, rate: float, name: str
) -> NDArray[np.float64]:
    """The moment that the decay of each slice is corrected to, for DecayCorrection START.

    It is the start of the series if that is not later than any acquisition, else GE's start of the scan,
    else counted back from each slice by FrameReferenceTime. A warning tells if the first two differ from
    the last. Multi-frame files state it. Raises InputError if none is known.
    """
    counted = counted_back(headers, clock, rate)
    moment = clock.corrected_to()
    for known in (clock.series, clock.scan_of_ge):
        if moment is None and (found := known()) is not None and found <= clock.start + _ROUNDING_S:
            moment = found
    if moment is None:
        if counted is None:
            raise no_suv(
                name,
                "the start of the scan is unknown: DICOM field SeriesTime is absent or after the "
                "acquisition, and FrameReferenceTime or ActualFrameDuration absent",
            )
        logger.info("%s: the start of the scan is counted back by FrameReferenceTime", name)
        return counted
    if counted is not None:
        differences = counted - moment
        apart = float(differences[np.abs(differences).argmax()])
        if abs(apart) > _FEW_S:
            logger.warning(
                "%s: the start of the scan, which decay is corrected to, is %.0f s %s by FrameReferenceTime; "
                "SUV would be up to %.2g %% %s",
                *(name, abs(apart), "later" if apart > 0 else "earlier"),
                *(100 * abs(remaining(rate, -apart) - 1), "higher" if apart > 0 else "lower"),
            )
    return np.full(len(headers), moment)


def counted_back(
    headers: Sequence[Header], clock: Clock, rate: float
) -> NDArray[np.float64] | None:
    """For each slice t_acq + (1/λ) ln(λT / (1 - e^{-λT})) - FrameReferenceTime; None if that is absent.

    A FrameReferenceTime that is 0 in all slices was not filled in: a frame's mean is after its start. GE
    writes the start of each frame there, which its DecayFactor tells; t_acq - FrameReferenceTime, then.
    """
    field = "FrameReferenceTime"
    durations = [duration_s(header) for header in headers]
    if None in durations or not all(header.has(field) for header in headers):
        return None
    middles = np.array([header.numbers(field)[0] for header in headers]) / 1000
    if not middles.any():
        return None
    within = np.array([mean_activity_time(rate, each or 0.0) for each in durations])
    if _are_starts(headers, rate, middles, within):
        within = np.zeros(len(headers))
    return np.asarray(clock.starts + within - middles)


def _are_starts(
    headers: Sequence[Header], rate: float, times: NDArray[np.float64], within: NDArray[np.float64]
) -> bool:
    """Whether each DecayFactor is that of a frame which starts at ``times``, not of one with its mean there."""
    stated = [positive(header, "DecayFactor") for header in headers]
    if None in stated:
        return False
    apart = np.log(np.array(stated, float)) - rate * times
    return bool((np.abs(apart - rate * within) < np.minimum(_SAME_DECAY, rate * within / 2)).all())
