"""The administered activity at the time that the values of a series refer to."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from petrt.suv.clock import Clock
from petrt.suv.fields import dose_bq, drug, duration_s, no_suv, one_for_all, positive
from petrt.suv.formulas import decay_constant, mean_activity_time, mean_decay, remaining

if TYPE_CHECKING:
    from petrt.io.dicom.header import Header

logger = logging.getLogger(__name__)

# Two ways to one moment may differ by this: fields are rounded, and beds begin with a delay.
_FEW_S = 5.0
# A start of the scan that lies longer before the first acquisition has a wrong date.
_MOST_HALF_LIVES = 12.0
# SeriesTime may lie after an acquisition by less than this, if one of them has no fractions of seconds.
_ROUNDING_S = 1.0
# Of the logarithm of DecayFactor, which has a few digits.
_SAME_DECAY = 1e-3


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
    with np.errstate(all="ignore"):  # the caller looks for what is not finite
        return np.asarray(within / (dose * left))


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
    earliest = clock.start - _MOST_HALF_LIVES * math.log(2) / rate
    for known in (clock.series, clock.scan_of_ge):
        if moment is None and (found := known()) is not None:
            moment = found if earliest <= found <= clock.start + _ROUNDING_S else None
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
    """Whether each DecayFactor is of a frame that starts at ``times``, not of one with its mean there."""
    stated = [positive(header, "DecayFactor") for header in headers]
    if None in stated:
        return False
    apart = np.log(np.array(stated, float)) - rate * times
    return bool((np.abs(apart - rate * within) < np.minimum(_SAME_DECAY, rate * within / 2)).all())
