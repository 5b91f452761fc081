"""DICOM dates and times in all their spellings."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petrt.suv import moments


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 36000),
        ("1030", 37800),
        ("103015", 37815),
        ("103015.25", 37815.25),
        ("10:30:15.000001", 37815.000001),
        ("235960", 86400),
        ("103015 ", 37815),
    ],
)
def test_times(text, seconds):
    assert moments.time_of_day(text) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    "text", ["", "1", "24", "1060", "103061", "10.5", "103015.", "ten", "1030151"]
)
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match="not a DICOM date or time"):
        moments.time_of_day(text)


@pytest.mark.parametrize("text", ["", "2025", "20250230", "20251301", "20250101103015", "anon"])
def test_what_is_no_date(text):
    with pytest.raises(ValueError, match="not a DICOM date or time"):
        moments.day(text)


@pytest.mark.parametrize(
    "text", ["20250101", "2025010110", "20250101106100", "20250101103015+1", ""]
)
def test_what_is_no_date_with_time(text):
    with pytest.raises(ValueError, match="not a DICOM date or time"):
        moments.date_time(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("+0000", 0), ("+0530", 19800), ("-1200", -43200), ("+1400", 50400)]
)
def test_offsets(text, seconds):
    assert moments.offset(text) == seconds


@pytest.mark.parametrize("text", ["0100", "+1", "+1500", "+0160", "UTC"])
def test_what_is_no_offset(text):
    with pytest.raises(ValueError, match="not a DICOM date or time"):
        moments.offset(text)


MOMENTS = st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1))


@given(MOMENTS, MOMENTS)
def test_differences_are_those_of_the_calendar(first, second):
    seconds = []
    for each in (first, second):
        both, zone = moments.date_time(each.strftime("%Y%m%d%H%M%S.%f"))
        assert zone is None
        apart = moments.day(each.strftime("%Y.%m.%d")) + moments.time_of_day(
            each.strftime("%H%M%S.%f")
        )
        assert both == apart
        seconds.append(both)
    assert seconds[1] - seconds[0] == pytest.approx((second - first).total_seconds(), abs=1e-4)
