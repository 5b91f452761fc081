"""When slices were acquired, and the decay between them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from petrt.errors import InputError
from petrt.io.dicom.header import Header

logger = logging.getLogger(__name__)

# Without dates, times further apart than this are of two days.
_HALF_A_DAY_S = 43_200.0
# Decay by more than this between the slices of one volume is a wrong time, not a scan.
_MOST_DECAY = 100.0


def acquired(header: Header) -> float | None:
    """The start of a slice's acquisition in seconds, from AcquisitionDate and AcquisitionTime, or
    AcquisitionDateTime; None without a time. Without a date it is the time of the day."""
    date, time = header.text("AcquisitionDate"), header.text("AcquisitionTime")
    if not time:
        both = header.text("AcquisitionDateTime").partition("+")[0].partition("-")[0]
        date, time = both[:8], both[8:]
    seconds = time_of_day(time)
    if seconds is None:
        return None
    day = date.replace(".", "")
    if not day:
        return seconds
    try:
        return (datetime.strptime(day, "%Y%m%d") - datetime(1970, 1, 1)) / timedelta(
            seconds=1
        ) + seconds
    except ValueError:
        return seconds


def time_of_day(text: str) -> float | None:
    """A DICOM time (HH, HHMM, HHMMSS, HHMMSS.FFFFFF, or with colons as before 1993) in seconds."""
    whole, _, part = text.strip().replace(":", "").partition(".")
    if len(whole) not in (2, 4, 6) or not (whole + part).isdigit() or not whole.isascii():
        return None
    hours, minutes, seconds = (int(whole[n : n + 2] or 0) for n in (0, 2, 4))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return 3600.0 * hours + 60.0 * minutes + seconds + (float(f"0.{part}") if part else 0.0)


def decay_factors(headers: Sequence[Header], name: str) -> list[float]:
    """What brings the slices of one frame to one clock: 1 for each, unless their decay is not corrected.

    Slices that are not decay corrected (DecayCorrection NONE) and were acquired at several times, such as
    those of several beds, are brought to the start of the earliest: the factor is
    ``exp(λ (t - t0)) * m(T) / m(T0)`` with ``m(T) = λ T / (1 - exp(-λ T))``, where t is AcquisitionTime, T is
    ActualFrameDuration and λ = ln 2 / RadionuclideHalfLife (QIBA, SUV technical note). Raises InputError
    if a field for it is absent. A log line says that it was done.
    """
    starts = [acquired(header) for header in headers]
    if len(set(starts)) < 2 or _corrected(headers, name):
        return [1.0] * len(headers)
    absent = starts.count(None)
    if absent:
        raise InputError(
            f"{name}: its decay is not corrected, and AcquisitionTime is absent in {absent} files",
            "repair it",
        )
    times = _over_midnight([start for start in starts if start is not None], headers)
    rate = math.log(2) / _half_life(headers[0], name)
    first = min(range(len(times)), key=times.__getitem__)
    grown = [_mean(rate, header) for header in headers]
    apart = max(times) - times[first]
    if rate * apart > math.log(_MOST_DECAY):
        raise InputError(
            f"{name}: its decay is not corrected, and its slices are {apart:.0f} s apart",
            "check AcquisitionTime",
        )
    factors = [
        math.exp(rate * (time - times[first])) * mean / grown[first]
        for time, mean in zip(times, grown, strict=True)
    ]
    logger.info(
        "%s: its decay is not corrected; slices of %d acquisition times are brought to the earliest, by "
        "factors up to %.4g",
        *(name, len(set(times)), max(factors)),
    )
    return factors


def _corrected(headers: Sequence[Header], name: str) -> bool:
    """Whether the decay between the slices is corrected. Raises InputError if they differ in that."""
    kinds = {header.text("DecayCorrection") for header in headers}
    if len(kinds) > 1:
        several = ", ".join(sorted(kind or "absent" for kind in kinds))
        raise InputError(f"{name}: its slices differ in DecayCorrection: {several}", "repair it")
    (kind,) = kinds
    if kind in ("START", "ADMIN"):
        return True
    if kind == "NONE":
        return False
    words = headers[0].words("CorrectedImage")
    if words:
        return "DECY" in words
    logger.warning(
        "%s: DICOM fields DecayCorrection and CorrectedImage are absent; slices of several acquisition "
        "times are taken as corrected for decay",
        name,
    )
    return True


def _half_life(header: Header, name: str) -> float:
    field = "RadionuclideHalfLife"
    drug = header.items("RadiopharmaceuticalInformationSequence")
    value = drug[0].numbers(field)[0] if drug and drug[0].has(field) else 0.0
    if value <= 0:
        raise InputError(
            f"{name}: its decay is not corrected, and DICOM field {field} is absent or not above 0",
            "repair it",
        )
    return value


def _mean(rate: float, header: Header) -> float:
    """Activity at the start over the mean activity of a slice's acquisition; 1 if its duration is absent."""
    field = "ActualFrameDuration"
    decayed = rate * header.numbers(field)[0] / 1000 if header.has(field) else 0.0
    return decayed / -math.expm1(-decayed) if 0 < decayed < 100 else 1.0


def _over_midnight(times: list[float], headers: Sequence[Header]) -> list[float]:
    """The times of day as one clock, where there are no dates."""
    dated = any(
        header.has("AcquisitionDate") or len(header.text("AcquisitionDateTime")) > 7
        for header in headers
    )
    if dated or max(times) - min(times) < _HALF_A_DAY_S:
        return times
    return [time + 86_400 if time < _HALF_A_DAY_S else time for time in times]
