"""Volumes in SUV, and the unit that a volume is shown in."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from petrt.errors import InputError
from petrt.files.names import printable
from petrt.suv.formulas import NAMES, UNITS, Kind, check_kind
from petrt.suv.series import factors

if TYPE_CHECKING:
    from petrt.io.volume import Volume

logger = logging.getLogger(__name__)

# By the field Units, and the same without case and strokes.
_WORDS = {
    "BQML": "Bq/ml",
    "GML": "g/ml",
    "CM2ML": "cm²/ml",
    "CNTS": "counts",
    "CPS": "counts/s",
    "COUNTSS": "counts/s",
}
_LONGEST = 64


def unit_name(kind: Kind) -> str:
    """A kind of SUV with its unit, as it is written beside numbers: ``SUVbw (g/ml)``."""
    return f"{NAMES[kind]} ({UNITS[kind]})"


def volume(
    source: str | os.PathLike[str] | Volume,
    kind: Kind = "bw",
    *,
    series: str | None = None,
    force_units: bool = False,
) -> Volume:
    """A DICOM series (a path, or a volume read from one) in SUV, float32 of the same shape and grid.

    ``series`` is the UID of the series to read from a path with several. The result has no ``series``:
    its values are not in the unit of the files any more. Raises InputError with the reason where SUV
    cannot be formed, and UsageError for another ``kind``.
    """
    if isinstance(source, str | os.PathLike):
        from petrt.io.dicom.series import read

        source = read(source, series=series, force_units=force_units)
    kind = check_kind(kind)
    each = _factors(source, kind, force_units)
    summary = f"{source.source}, as {unit_name(kind)}"
    return replace(source, data=scaled(source.data, each), series=None, source=summary)


def _factors(source: Volume, kind: Kind, force_units: bool = False) -> NDArray[np.float64]:
    """Factors that keep all values in float32. Raises InputError if there are none."""
    each = factors(source, kind, force_units=force_units)
    largest = max(abs(float(source.data.max(initial=0))), abs(float(source.data.min(initial=0))))
    if largest * float(each.max()) > float(np.finfo(np.float32).max):
        raise InputError("no SUV: its values are beyond float32", "check weight and dose")
    return each


def as_stored(source: Volume) -> Volume:
    """A volume from DICOM with the values of its files.

    For a reconstruction slices that are not decay corrected are brought to one time, and counts to one
    scale. Here that is taken back, with a warning that they differ.
    """
    planes = () if source.series is None else source.series.frames
    each = np.array([[plane.factor for plane in frame] for frame in planes])
    if not each.size or (each == 1).all():
        return source
    logger.warning(
        "the values are those of the files, whose slices differ by up to %.3g %% by decay or scale",
        100 * (each.max() / each.min() - 1),
    )
    return replace(source, data=scaled(source.data, 1 / each))


def scaled(data: NDArray[np.float32], each: NDArray[np.float64]) -> NDArray[np.float32]:
    """``data`` [X, Y, Z] or [X, Y, Z, T] times factors [T, Z]; multiplied in float64, rounded once."""
    shaped = each[0] if data.ndim == 3 else each.T
    out = np.empty_like(data)
    np.multiply(data, shaped, out=out, casting="same_kind")
    return out


@dataclass(frozen=True)
class Display:
    """How a volume is shown: ``factors`` [T, Z] for its values, and the name of the unit that results.

    ``reason`` says why that is not SUV; "" if it is. ``unit`` is "" if it is not known.
    """

    unit: str
    factors: NDArray[np.float64] | None
    reason: str = ""

    def of(self, data: NDArray[np.float32]) -> NDArray[np.float32]:
        """``data`` (the volume's shape) in ``unit``."""
        return data if self.factors is None else scaled(data, self.factors)


def display(source: Volume, kind: Kind = "bw") -> Display:
    """SUV where it can be formed, else the unit of the file, with the reason."""
    try:
        return Display(unit_name(kind), _factors(source, kind))
    except InputError as error:
        return Display(stored_unit(source), None, error.message)


def stored_unit(source: Volume) -> str:
    """The unit of a volume's values: from its DICOM files or the JSON file beside it; "" if unknown.

    BQML, Bq/mL and Bq/ml are one; another unit is as the file writes it, on one line.
    """
    if source.series is not None:
        return _spelled(source.series.units)
    if source.path is None:
        return ""
    from petrt.io.sidecar import sidecar_unit

    try:
        return _spelled(sidecar_unit(source.path) or "")
    except InputError:
        return ""


def _spelled(unit: str) -> str:
    plain = unit.upper().replace("/", "").replace(" ", "")
    return _WORDS.get(plain, printable(unit)[:_LONGEST])
