"""Dynamic and gated series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.io.dicom.dicom_files import AFFINE, DATA, write_series

FRAMES = 4

# F-18; a constant slope, so that equal volumes are stored equally.
HALF_LIFE_S = 6586.2


def write_frames(folder: Path, *, files_from: int = 0, **by_frame: Callable[[int], Any]) -> None:
    """Frame t is t + 1 times DATA. The files' names and numbers say nothing about the frames' order."""
    for t in range(FRAMES):
        mixed = (t + files_from) * 3 % FRAMES
        write_series(
            folder / str(mixed),
            DATA * (t + 1),
            AFFINE,
            SOPInstanceUID=lambda k, t=t: f"1.2.{t + 1}.{k + 1}",
            InstanceNumber=None,
            RescaleSlope=0.5,
            **{field: value(t) for field, value in by_frame.items()},
        )


def times(t: int) -> str:
    return f"10{10 + 5 * t:02}12.5"
