"""The moments of a series on one clock: acquisition, start of the scan, administration."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from petrt.suv import moments
from petrt.suv.fields import duration_s, ge_scan_date_time, no_suv

if TYPE_CHECKING:
    from petrt.io.dicom.header import Header

logger = logging.getLogger(__name__)

# An administration longer ago than this many half-lives is a wrong date: 4096 times less is left.
_MOST_HALF_LIVES = 12.0
# After a day less than a tenth is left of these, so the scan was not days later.
_SHORT_LIVED_S = 6 * 3600.0
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
