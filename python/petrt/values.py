"""Values that come in as options: the one way in for numbers and words, from Python and the command line.

Each function takes the option's name, ``samples`` or ``--samples``, and gives a plain Python value back.
Errors name the option as the caller writes it (``petrt.errors.called``). Numbers may be of any library:
NumPy's, a quotient, an array without axes. A whole number may come as a float, such as 8.0. Truth values and
texts are no numbers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable
from decimal import Decimal
from numbers import Real
from typing import Any

from petrt.errors import PetrtError, UsageError, called

Size3 = tuple[float, float, float]

# Threads and processes: more than any machine has; a mistyped number must not start a million of them.
MOST_WORKERS = 4096
# Samples to average, slices, subjects.
MOST = 1_000_000
MOST_SEED = (1 << 64) - 1


def whole(name: str, value: object, low: int, high: int) -> int:
    """``value`` as a whole number from ``low`` to ``high``. Raises UsageError."""
    number = _number(value)
    if number is None or (isinstance(number, float) and not number.is_integer()):
        raise UsageError(
            f"{called(name)} is {shown(value)}", f"give a whole number, {_from(low, high)}"
        )
    if not low <= number <= high:
        where = f"lie in {_bound(low)} .. {_bound(high)}"
        if high in (MOST, MOST_WORKERS):
            where = f"be at least {low}" if number < low else f"be at most {high}"
        raise UsageError(f"{called(name)} must {where}, got {shown(value)}")
    return int(number)


def real(
    name: str,
    value: object,
    low: float,
    high: float = math.inf,
    *,
    unit: str = "",
    error: type[PetrtError] = UsageError,
) -> float:
    """``value`` as a finite float from ``low`` to ``high``, in ``unit``. Raises ``error``."""
    number = _number(value)
    number = None if number is None else _float(number)
    if number is None or not math.isfinite(number) or not low <= number <= high:
        of = f" of {unit}" if unit else ""
        raise error(f"{called(name)} is {shown(value)}", f"give a number{of}, {_from(low, high)}")
    return number


def positive(
    name: str, value: object, *, unit: str = "", error: type[PetrtError] = UsageError
) -> float:
    """``value`` as a finite float above 0, in ``unit``. Raises ``error``."""
    number = _number(value)
    number = None if number is None else _float(number)
    if number is None or not math.isfinite(number) or number <= 0:
        of = f" of {unit}" if unit else ""
        raise error(f"{called(name)} is {shown(value)}", f"give a number{of} above 0")
    return number


def sizes(name: str, value: object, *, error: type[PetrtError] = UsageError) -> Size3:
    """``value`` as three finite lengths above 0 in millimetres. Raises ``error``."""
    entries = _entries(value)
    numbers = [_number(each) for each in entries]
    found = [_float(number) for number in numbers if number is not None]
    if len(entries) != 3 or len(found) != 3 or not all(0 < f < math.inf for f in found):
        raise error(
            f"{called(name)} is {shown(value)}", "expected three sizes above 0 in mm, as in 2 2 2"
        )
    return found[0], found[1], found[2]


def pair(name: str, value: object, low: int, high: int) -> tuple[int, int]:
    """``value`` as two whole numbers from ``low`` to ``high``. Raises UsageError."""
    entries = _entries(value)
    if len(entries) != 2:
        raise UsageError(
            f"{called(name)} is {shown(value)}", f"give two whole numbers, {_from(low, high)}"
        )
    first, second = (whole(name, each, low, high) for each in entries)
    return first, second


def word(name: str, value: object, choices: Collection[str] = ()) -> str:
    """``value`` as one of ``choices``, or any text without them. Raises UsageError."""
    if not isinstance(value, str) or (choices and value not in choices):
        known = ", ".join(choices)
        raise UsageError(
            f"{called(name)} is {shown(value)}",
            f"choose one of {known}" if choices else "give a text",
        )
    return value


def switch(name: str, value: object) -> bool:
    """``value`` as True or False, also NumPy's. Raises UsageError."""
    plain: Any = value
    if _without_axes(plain):
        plain = plain.item()
    if not isinstance(plain, bool):
        raise UsageError(f"{called(name)} is {shown(value)}", "give True or False")
    return plain


def _number(value: Any) -> int | float | None:
    """The number that ``value`` is, an int where it is a whole number by its kind; None for anything else."""
    if _without_axes(value):
        value = value.item()
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        pass
    try:
        return float(value) if isinstance(value, Real | Decimal) else None
    except (ValueError, OverflowError):  # a signalling NaN, a quotient beyond every float
        return None


def _without_axes(value: Any) -> bool:
    """Whether ``value`` is a NumPy, CuPy or torch scalar, or an array of them without axes."""
    return getattr(value, "ndim", None) == 0 and hasattr(value, "item")


def _float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _entries(value: object) -> list[Any]:
    """The entries of a sequence or array; none of what is no sequence."""
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        return []
    try:
        return list(value)
    except TypeError:  # an array without axes
        return []


def shown(value: object) -> str:
    """``value`` in a message: on one line, and not longer than one."""
    try:
        text = repr(value) if isinstance(value, str | bytes) else str(value)
    except ValueError:  # an int of thousands of digits
        text = "a number of thousands of digits"
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _from(low: float, high: float) -> str:
    return f"at least {low:g}" if high == math.inf else f"from {_bound(low)} to {_bound(high)}"


def _bound(limit: float) -> str:
    if isinstance(limit, int) and limit >= 1 << 32 and (limit + 1) & limit == 0:
        return f"2^{(limit + 1).bit_length() - 1} - 1"
    return str(limit) if isinstance(limit, int) else f"{limit:g}"
