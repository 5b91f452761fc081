"""Strength: how far an image goes from its input, at 0, to that of the model, at 1.

With input x, the model's image m and strength S the image is (1 - S) x + S m, on the input's grid. Its error
against the full dose f is S (m - f) + (1 - S) (x - f) = (m - f) + (1 - S) (x - m). The second part is known,
so with a deviation s of the first, the root of the mean square error is sqrt(s^2 + ((1 - S)(x - m))^2).
That is the standard deviation that is given: it grows where noise comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from petrt.arrays import Array


def blend(frame: Array, image: Array, strength: float) -> tuple[Array, Array | None]:
    """(1 - ``strength``) ``frame`` + ``strength`` ``image``, float32, and its distance from ``image``, None
    where that is 0. At 0 and 1 it is the one or the other to the bit."""
    if strength == 1:
        return image, None
    given = np.asarray(frame, np.float32)
    away = given - image
    away *= np.float32(1 - strength)
    return (given.copy() if strength == 0 else image + away), away


def deviation(std: Array, away: Array | None) -> Array:
    """The deviation ``std`` of the model's image as that of an image ``away`` from it."""
    return std if away is None else np.hypot(std, away)


def std_at(record: Mapping[str, Any], strength: float) -> dict[str, Any]:
    """The record of a std map (``petrt.evaluation.calibration.std_record``) at ``strength``: below 1 no
    calibration was fitted, whatever was for the model's image."""
    if strength == 1:
        return dict(record)
    base = "calibrated" if record["calibrated"] else f"not calibrated ({record['reason']})"
    reason = (
        f"at strength {strength:g}: the root of the squared std of the model's image, {base}, and of the "
        "squared distance from it"
    )
    return {**record, "calibrated": False, "reason": reason}


def words(strength: float) -> list[str]:
    """What an image of a strength below 1 says of itself; nothing at 1."""
    return [] if strength == 1 else [f"strength {strength:g} (0 is the input, 1 the model's image)"]
