"""Judges a reconstruction by its own numbers: activity, maximum and voxels below 0 of every frame.

Full dose and low dose have the same total activity, so a reconstruction that changes it is wrong wherever
else it may be right. The maximum of a noisy image is noise in part, so its bounds are wider and only warn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from petrt.errors import ActivityChanged, way

# Activity ratios within are not mentioned; beyond the second bounds a frame is refused.
USUAL_RATIO = (0.98, 1.02)
ALLOWED_RATIO = (0.90, 1.10)
USUAL_SHIFT_PERCENT = 15.0
USUAL_NEGATIVE = 0.01
CHECK = "check the unit, the dose and the model"
UNTIL = "until then there is no image"

Record = Mapping[str, Any]


def refuse_change(name: str, record: Record, index: int, frames: int) -> None:
    """Raise ActivityChanged where frame ``index`` of ``frames`` changes the activity beyond ALLOWED_RATIO.

    ``record``: the frame's part of the record. A ratio that is undefined, since the input's sum is not
    above 0, shows no more than a wrong one that the activity is kept.
    """
    ratio = record["activity_ratio"]
    if _unchanged(record) or (ratio is not None and _within(ratio, ALLOWED_RATIO)):
        return
    where = f"{name}, frame {index + 1} of {frames}" if frames > 1 else name
    low, high = ALLOWED_RATIO
    numbers = [f"activity ratio {ratio_text(ratio)} ({low:.2f} to {high:.2f} is allowed)"]
    numbers.append(f"maximum {shift_text(record['suvmax_shift_percent'])}")
    if record["negative_fraction"] > USUAL_NEGATIVE:
        numbers.append(f"{100 * record['negative_fraction']:.1f} % of its voxels are negative")
    raise ActivityChanged(
        f"{where}: {', '.join(numbers)}",
        f"{CHECK}; {way('allow_activity_change', '', 'gives the image all the same', UNTIL)}",
    )


def warnings(frames: Sequence[Record]) -> list[str]:
    """One line for each kind of number that is unusual in some of ``frames``, parts of a run's record."""
    found = []
    unchanged = [bool(frame["empty"]) for frame in frames if _unchanged(frame)]
    for empty, one, several in (
        (True, "a constant or empty volume", "empty or constant"),
        (
            False,
            "a volume with too little above 0 for a scale",
            "with too little above 0 for a scale",
        ),
    ):
        if count := unchanged.count(empty):
            many = f"{count} of {len(frames)} frames {several}: returned unchanged"
            found.append(many if len(frames) > 1 else f"{one} is returned unchanged")
    judged = [(n, frame) for n, frame in enumerate(frames, 1) if not _unchanged(frame)]
    found += _unusual(
        "activity ratio",
        [(n, frame["activity_ratio"]) for n, frame in judged],
        len(frames),
        "beyond {:.2f} to {:.2f}".format(*USUAL_RATIO),
        lambda ratio: math.inf if ratio is None else abs(ratio - 1),
        lambda ratio: ratio is not None and _within(ratio, USUAL_RATIO),
        ratio_text,
    )
    found += _unusual(
        "change of the maximum",
        [(n, frame["suvmax_shift_percent"]) for n, frame in judged],
        len(frames),
        f"more than {USUAL_SHIFT_PERCENT:g} %",
        lambda shift: 0.0 if shift is None else abs(shift),
        lambda shift: shift is None or abs(shift) <= USUAL_SHIFT_PERCENT,
        shift_text,
    )
    found += _unusual(
        "negative voxels",
        [(n, frame["negative_fraction"]) for n, frame in enumerate(frames, 1)],
        len(frames),
        f"more than {100 * USUAL_NEGATIVE:g} %",
        lambda share: share,
        lambda share: share <= USUAL_NEGATIVE,
        lambda share: f"{100 * share:.1f} %",
    )
    return found


def figures(frames: Sequence[Record]) -> str:
    """Activity ratio and change of the maximum, where defined; of a series the smallest and the largest."""
    text = f"activity ratio {_span([frame['activity_ratio'] for frame in frames], ratio_text)}"
    shifts = [frame.get("suvmax_shift_percent") for frame in frames]
    known = any(shift is not None for shift in shifts)
    return f"{text}, maximum {_span(shifts, shift_text)}" if known else text


def ratio_text(ratio: float | None) -> str:
    return "undefined" if ratio is None else f"{ratio:.4f}"


def shift_text(percent: float | None) -> str:
    return "undefined" if percent is None else f"{percent:+.1f} %"


def _unusual(
    what: str,
    values: Sequence[tuple[int, Any]],
    frames: int,
    beyond: str,
    distance: Callable[[Any], float],
    usual: Callable[[Any], bool],
    text: Callable[[Any], str],
) -> list[str]:
    """The line for one kind of number: of a volume the number, of a series how many and the farthest."""
    unusual = [(number, value) for number, value in values if not usual(value)]
    if not unusual:
        return []
    number, value = max(unusual, key=lambda each: distance(each[1]))
    if frames == 1:
        return [f"{what} {text(value)}, {beyond}"]
    farthest = f"{text(value)} in frame {number}"
    return [f"{what} {beyond} in {len(unusual)} of {frames} frames, farthest {farthest}"]


def _span(values: Sequence[float | None], text: Callable[[float | None], str]) -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return text(None)
    if len(values) == 1:
        return text(known[0])
    return f"{text(known[0])} to {text(known[-1])} in {len(known)} of {len(values)} frames"


def _within(ratio: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= ratio <= bounds[1]


def _unchanged(record: Record) -> bool:
    return bool(record.get("unchanged"))
