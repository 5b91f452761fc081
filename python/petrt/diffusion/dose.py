"""The dose of a volume: a fraction of the full one, in (0, 1]."""

from __future__ import annotations

from petrt.errors import UsageError
from petrt.model.spec import DomainSpec, ModelSpec

HINT = "give the fraction of the full dose, such as 1/20 or 0.05"
# A dose this many times the one trained on, or its inverse, is unlike it.
FAR = 2.0
# 1/3 may be written 0.333.
ROUNDING = 0.01


def parse_dose(text: str) -> float:
    """The fraction that a text such as 1/20 or 0.05 stands for. Raises UsageError for what is none."""
    above, slash, below = text.partition("/")
    try:
        return checked(float(above) / (float(below) if slash else 1.0))
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"dose {text[:40]!r} is no fraction", HINT) from error


def checked(fraction: float) -> float:
    """``fraction`` itself. Raises UsageError where it is not in (0, 1]."""
    if not 0 < fraction <= 1:  # neither is NaN
        raise UsageError(f"dose {fraction:g} is not in (0, 1]", HINT)
    return fraction


def settle(given: float | None, model: ModelSpec) -> float | None:
    """The dose that ``model`` is told: as given, else its own. None where nothing is known or needed.

    Raises UsageError for a bad fraction, or where a model that needs one has none of its own.
    """
    if given is not None:
        return checked(given)
    if not model.network.dose:
        return None
    if model.domain.dose_fraction is None:
        raise UsageError(f"model '{model.name}' needs the dose of the volume", HINT)
    return model.domain.dose_fraction


def dose_warnings(dose: float | None, domain: DomainSpec) -> list[str]:
    """How a dose is unlike the training data's: one line, or none if it is alike or unknown.

    Unlike is a dose outside the range trained on, or, where the model names none, more than twice or
    less than half the one it was trained on.
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
    """1/20 for 0.05, and 0.3 for what is no such fraction."""
    parts = round(1 / fraction)
    return f"1/{parts}" if parts > 1 and abs(parts * fraction - 1) < 1.5e-3 else f"{fraction:.3g}"
