"""The formulas of SUV: plain numbers in, plain numbers out. docs/suv.md lists their sources."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from petrt.errors import UsageError, called

Kind = Literal["bw", "lbm", "lbmjames128", "lbmjanma", "bsa", "ibw"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UNITS: dict[Kind, str] = {kind: "cm²/ml" if kind == "bsa" else "g/ml" for kind in KINDS}
# How a kind is written behind a number or a scale.
NAMES: dict[Kind, str] = {
    "bw": "SUVbw",
    "lbm": "SUVlbm",
    "lbmjames128": "SUVlbm (James 128)",
    "lbmjanma": "SUVlbm (Janmahasatian)",
    "bsa": "SUVbsa",
    "ibw": "SUVibw",
}
# Kinds whose formula differs between the sexes, and the only one without the height.
OF_SEX: tuple[Kind, ...] = ("lbm", "lbmjames128", "lbmjanma", "ibw")
_LARGEST_EXPONENT = 700.0
Sex = Literal["M", "F", "O"]


def check_kind(text: str) -> Kind:
    """``text`` as a kind of SUV, in any case of letters. Raises UsageError for another."""
    for kind in KINDS:
        if str(text).lower() == kind:
            return kind
    raise UsageError(f"{called('suv')} is {str(text)!r}", f"choose {', '.join(KINDS)}")


def decay_constant(half_life_s: float) -> float:
    """λ = ln 2 / T½ in 1/s."""
    return math.log(2) / half_life_s


def mean_decay(constant: float, duration_s: float) -> float:
    """λT / (1 - e^{-λT}): the activity at the start of a frame by its mean activity; 1 for T = 0."""
    decay = constant * duration_s
    return decay / -math.expm1(-decay) if decay > 0 else 1.0


def mean_activity_time(constant: float, duration_s: float) -> float:
    """Seconds from a frame's start to the moment when the activity equals the frame's mean."""
    return math.log(mean_decay(constant, duration_s)) / constant


def remaining(constant: float, elapsed_s: float) -> float:
    """e^{-λt}: the part of a dose that is left after ``elapsed_s``; infinite where no float holds it."""
    exponent = -constant * elapsed_s
    return math.exp(exponent) if exponent < _LARGEST_EXPONENT else math.inf


@dataclass(frozen=True)
class Body:
    """A patient's weight in kg, height in cm and sex; None if not known."""

    weight_kg: float
    height_cm: float | None = None
    sex: Sex | None = None

    def size(self, kind: Kind) -> float:
        """What a kind of SUV is normalised by: a mass in g, for ``bsa`` an area in cm².

        Raises ValueError, which says what is missing, or that the formula gives no size.
        """
        if kind == "bw":
            return 1e3 * self.weight_kg
        if self.height_cm is None:
            raise ValueError("no height")
        if kind == "bsa":
            return 1e4 * body_surface_m2(self.weight_kg, self.height_cm)
        if self.sex is None:
            raise ValueError("no sex")
        sexes: tuple[Sex, ...] = ("M", "F") if self.sex == "O" else (self.sex,)
        try:
            masses = [_mass_kg(kind, self.weight_kg, self.height_cm, sex) for sex in sexes]
        except ArithmeticError:  # a height near 0
            masses = [0.0]
        if min(masses) <= 0:
            raise ValueError(f"{NAMES[kind]} is not defined for this weight and height")
        return 1e3 * sum(masses) / len(masses)


def body_surface_m2(weight_kg: float, height_cm: float) -> float:
    """Du Bois and Du Bois 1916."""
    return 0.007184 * height_cm**0.725 * weight_kg**0.425


def _mass_kg(kind: Kind, weight: float, height: float, sex: Sex) -> float:
    """Lean mass, for men with 120 or James's 128, or after Janmahasatian; or ideal mass."""
    man = sex == "M"
    if kind == "ibw":
        return 48.0 + 1.06 * (height - 152) if man else 45.5 + 0.91 * (height - 152)
    if kind == "lbmjanma":
        index = weight / (height / 100) ** 2
        return 9270 * weight / (6680 + 216 * index if man else 8780 + 244 * index)
    square = (weight / height) ** 2
    if not man:
        return 1.07 * weight - 148 * square
    return 1.10 * weight - (128 if kind == "lbmjames128" else 120) * square
