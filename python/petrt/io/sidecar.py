"""The .json file that BIDS puts beside a volume: its unit, and whether it describes the same frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from petrt.errors import InputError
from petrt.files.json_text import parsed
from petrt.files.names import shown

# A sidecar has a few kilobytes. A larger file beside a volume is something else.
LARGEST = 1 << 22
# Fields with one value a frame.
_FRAMES = ("FrameTimesStart", "FrameDuration", "DecayCorrectionFactor")
# Seconds by which the end of a frame may exceed the start of the next, since both are rounded.
_OVERLAP = 0.5


def sidecar_unit(path: Path) -> str | None:
    """``Units`` in the JSON file beside a volume; None without one. Raises InputError if it is damaged."""
    try:
        content = _content(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)}: its .json file cannot be read", "repair it") from error
    if content is None:
        return None
    if not isinstance(content, dict):
        raise InputError(f"{shown(path)}: its .json file cannot be read", "repair it")
    return str(content["Units"]) if "Units" in content else None


def sidecar_warnings(path: Path, frames: int) -> list[str]:
    """One line for each fact on which the JSON file beside a volume of ``frames`` frames contradicts it.

    A file that cannot be read, or describes something else, contradicts nothing.
    """
    try:
        content = _content(path)
    except (OSError, ValueError):
        return []
    return frame_faults(content, frames) if isinstance(content, dict) else []


def frame_faults(content: Mapping[str, Any], frames: int) -> list[str]:
    """One line for each fact on which ``content``, read from JSON, contradicts ``frames`` frames."""
    given = {key: content[key] for key in _FRAMES if isinstance(content.get(key), list)}
    faults = [
        f"its .json file has {len(values)} {key}, the volume {frames} frame{'s' * (frames > 1)}"
        for key, values in given.items()
        if len(values) != frames
    ]
    starts, lengths = (_numbers(given.get(key)) for key in ("FrameTimesStart", "FrameDuration"))
    if any(second <= first for first, second in pairwise(starts)):
        faults.append("FrameTimesStart in its .json file does not rise")
    elif any(
        start + length > following + _OVERLAP
        for start, length, following in zip(starts, lengths, starts[1:], strict=False)
    ):
        faults.append("FrameTimesStart and FrameDuration in its .json file overlap")
    return faults


def _content(path: Path) -> Any:
    """What the JSON file beside ``path`` holds; None without one."""
    lower = path.name.lower()
    end = next((end for end in (".nii.gz", ".nii") if lower.endswith(end)), "")
    beside = path.with_name(f"{path.name[: len(path.name) - len(end)]}.json")
    if not end or not beside.is_file() or beside.stat().st_size > LARGEST:
        return None
    return parsed(beside.read_text(encoding="utf-8"))


def _numbers(values: Any) -> list[float]:
    """``values`` as numbers; an empty list if they are anything else."""
    try:
        numbers = [float(value) for value in values or ()]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []
