"""DICOM dates and times as seconds on one clock.

PS3.5 6.2 defines DA, TM and DT; older files write dates with full stops and times with colons. Without
TimezoneOffsetFromUTC (0008,0201), times are of an unnamed zone, the same for all.
"""

from __future__ import annotations

import re
from datetime import date

DAY = 86400.0
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d{1,6})?)?)?")
_BOTH = re.compile(r"(\d{8})(\d{4,6}(?:\.\d{1,6})?)([+-]\d{4})?")
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)")


def day(text: str) -> float:
    """The start of a DA in seconds. Raises ValueError if it is none."""
    year, month, number = map(int, _whole(_DATE, text).groups())
    try:
        return date(year, month, number).toordinal() * DAY
    except ValueError as error:
        raise ValueError(f"not a DICOM date or time: {text!r}") from error


def time_of_day(text: str) -> float:
    """A TM in seconds. Raises ValueError if it is none."""
    hours, minutes, seconds, fraction = _whole(_TIME, text).groups(default="0")
    if int(hours) > 23 or int(minutes) > 59 or int(seconds) > 60:  # 60: a leap second
        raise ValueError(f"not a DICOM date or time: {text!r}")
    return int(hours) * 3600.0 + int(minutes) * 60 + int(seconds) + float(fraction)


def date_time(text: str) -> tuple[float, float | None]:
    """A DT with at least hours and minutes in seconds, and its own offset from UTC in seconds or None.

    Raises ValueError if it is none.
    """
    date_text, time_text, zone = _whole(_BOTH, text).groups()
    return day(date_text) + time_of_day(time_text), None if zone is None else offset(zone)


def offset(text: str) -> float:
    """An offset from UTC such as +0130 in seconds. Raises ValueError if it is none."""
    sign, hours, minutes = _whole(_OFFSET, text).groups()
    seconds = int(hours) * 3600.0 + int(minutes) * 60
    if seconds > 14 * 3600 or int(minutes) > 59:  # from -1200 to +1400
        raise ValueError(f"not a DICOM date or time: {text!r}")
    return -seconds if sign == "-" else seconds


def _whole(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    found = pattern.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a DICOM date or time: {text!r}")
    return found
