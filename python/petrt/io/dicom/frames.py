"""The frames of a dynamic or gated series: which slices belong to one time or gate, and their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from petrt.errors import InputError
from petrt.io.dicom.header import Header
from petrt.io.dicom.timing import acquired

Key = Callable[[Header], "float | None"]


def _number(keyword: str) -> Key:
    def key(header: Header) -> float | None:
        return header.numbers(keyword)[0] if header.has(keyword) else None

    return key


# What orders the slices at one place, best first. Times of beds differ within one frame, so that only the
# order at each place counts.
_TIMES: tuple[Key, ...] = (
    acquired,
    _number("FrameReferenceTime"),
    _number("TemporalPositionIndex"),
    _number("TemporalPositionIdentifier"),
)
_GATES: tuple[Key, ...] = (
    _number("TriggerTime"),
    _number("NominalPercentageOfCardiacPhase"),
    _number("NominalPercentageOfRespiratoryPhase"),
    _number("TemporalPositionIndex"),
)
# Its formula numbers the slices of all times and gates (PS3.3 C.8.9.4.1.9).
_INDEX: tuple[Key, ...] = (_number("ImageIndex"),)


def by_frame(headers: Sequence[Header], place_of: np.ndarray, name: str) -> list[list[int]]:
    """The indices of ``headers`` as [frame][place].

    ``place_of`` is the number of each slice's place, from 0. Raises InputError unless each place has
    equally many slices which a time, a gate or ImageIndex tells apart.
    """
    counts = np.bincount(place_of)
    if counts.min() != counts.max():
        raise InputError(
            f"{name}: {len(headers)} slices at {len(counts)} places, {counts.min()} to {counts.max()} at "
            "each: duplicates, or frames that lack slices",
            "keep one slice of each frame at each place",
        )
    places = [[int(n) for n in np.flatnonzero(place_of == place)] for place in range(len(counts))]
    if counts[0] == 1:
        return [[place[0] for place in places]]
    gated = any("GATED" in word for header in headers[:1] for word in header.words("SeriesType"))
    for key in (*_GATES, *_INDEX) if gated else (*_TIMES, *_GATES, *_INDEX):
        values = [key(header) for header in headers]
        if all(_distinct([values[n] for n in place]) for place in places):
            ordered = [sorted(place, key=lambda n: values[n] or 0.0) for place in places]
            return [[place[frame] for place in ordered] for frame in range(int(counts[0]))]
    raise InputError(
        f"{name}: {len(headers)} slices at {len(counts)} places: duplicates, or frames that no time, gate "
        "or ImageIndex tells apart",
        "keep one slice for each place",
    )


def _distinct(values: Sequence[float | None]) -> bool:
    return None not in values and len(set(values)) == len(values)
