"""The dose of a volume, as a fraction of the full dose in (0, 1]."""

from __future__ import annotations

from typing import Any, Literal

from petrt.errors import UsageError, called
from petrt.model.spec import DomainSpec, ModelSpec
from petrt.values import real

HINT = "give the fraction of the full dose, such as 1/20 or 0.05"
# A dose that differs from the training dose by more than this factor gives a warning.
FAR = 2.0
# Relative tolerance: 1/3 may be written 0.333.
ROUNDING = 0.01
# A fraction below is a mistake, and one over the smallest floats is infinite.
LEAST = 1e-9
AUTO: Literal["auto"] = "auto"
Told = float | Literal["auto"] | None
"""What a run is told: a dose, to estimate it from each volume, or nothing."""


def parse_dose(text: str) -> float:
    """The fraction written as 1/20 or 0.05. Raises UsageError for any other text."""
    above, slash, below = text.partition("/")
    try:
        return checked(float(above) / (float(below) if slash else 1.0))
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{called('dose')} {text[:40]!r} is not a fraction", HINT) from error


def checked(fraction: float) -> float:
    """``fraction``, unchanged. Raises UsageError if it is not in (0, 1]."""
    if not LEAST <= fraction <= 1:  # also refuses NaN
        raise UsageError(f"{called('dose')} {fraction:g} is not in (0, 1]", HINT)
    return fraction


Given = int | float | str
"""A reduced dose: its reduction, such as 100, or its fraction, such as 0.01 or "1/100"."""


def reduction(given: Given) -> int:
    """The whole number that the full dose is divided by: 100 for 100, 0.01 and "1/100". Raises UsageError for
    a fraction that is not one over such a number."""
    if isinstance(given, str):
        fraction = parse_dose(given)
    else:
        number = _number(given)
        if number >= 2 and number.is_integer():
            return int(number)
        fraction = checked(number)
    whole = round(1 / fraction)
    if whole < 2 or abs(whole * fraction - 1) > ROUNDING:
        raise UsageError(
            f"{called('dose')} {fraction:g} is no reduced dose", "give one such as 1/20 or 0.05"
        )
    return whole


def settle(given: Any, model: ModelSpec) -> float | None:
    """The dose for ``model``: ``given``, a number or a text such as 1/20, or the model's own dose, or None
    if it has none and needs none.

    Raises UsageError for a fraction outside (0, 1], and if the model needs a dose and there is none.
    """
    if given is not None:
        return parse_dose(given) if isinstance(given, str) else checked(_number(given))
    if not model.network.dose:
        return None
    if model.domain.dose_fraction is None:
        raise UsageError(f"model '{model.name}' needs the dose of the volume", HINT)
    return model.domain.dose_fraction


def told(given: Any, model: ModelSpec) -> Told:
    """What a run of ``model`` is told by the ``given`` dose: as ``settle``, but "auto" if none is given and
    the model can tell the dose from the noise of a volume.

    Raises UsageError as ``settle`` does, and for "auto" where the model cannot.
    """
    able = model.network.dose and model.domain.noise is not None
    if given is None and able:
        return AUTO
    if not isinstance(given, str) or given != AUTO:
        return settle(given, model)
    if not able:
        why = "takes no dose" if not model.network.dose else "cannot tell it from the noise"
        raise UsageError(f"{called('dose')} auto: model '{model.name}' {why}", HINT)
    return AUTO


def clipped(fraction: float, domain: DomainSpec) -> float:
    """``fraction`` within the doses that the model was trained on."""
    own = (domain.dose_fraction,) * 2 if domain.dose_fraction is not None else (LEAST, 1.0)
    low, high = domain.dose_range or own
    return min(max(fraction, low), high)


def _number(given: Any) -> float:
    """``given`` as a float; NaN and infinity are left to ``checked``."""
    if isinstance(given, float):
        return float(given)
    try:
        return real("dose", given, -1e300)
    except UsageError as error:
        raise UsageError(error.message, HINT) from None


def dose_warnings(dose: float | None, domain: DomainSpec) -> list[str]:
    """One line if ``dose`` differs from the training data's, else an empty list.

    It differs if it is outside the range trained on. If the model states no range, it differs if it is
    more than twice or less than half the dose trained on.
    """
    if dose is None:
        return []
    if domain.dose_range is not None:
        low, high = domain.dose_range
        trained, slack = f"{dose_text(low)} to {dose_text(high)}", 1 + ROUNDING
    elif domain.dose_fraction is not None:
        low = high = domain.dose_fraction
        trained, slack = dose_text(low), FAR * (1 + ROUNDING)
    else:
        return []
    if low / slack <= dose <= high * slack:
        return []
    return [f"the dose fraction is {dose_text(dose)}, trained on {trained}"]


def dose_text(fraction: float) -> str:
    """``fraction`` as 1/n, such as 1/20 for 0.05, or as a decimal if it is no such fraction."""
    parts = round(1 / fraction)
    return f"1/{parts}" if parts > 1 and abs(parts * fraction - 1) < 1.5e-3 else f"{fraction:.3g}"
