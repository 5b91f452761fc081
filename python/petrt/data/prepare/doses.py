"""Reads the dose from the name of a folder or file, the only place where the challenge data states it.

Patterns are anchored: D10 is not D100, drf_100 is 1/100 and not full dose, and a date is not a dose.
"""

from __future__ import annotations

import re

from petrt.data.prepare.scan import FULL
from petrt.errors import InputError

# A pattern is delimited by characters other than letters and digits; "D10.5" and "2022-1-10" do not match.
_BEGIN, _END = r"(?<![a-z0-9.\-])", r"(?![a-z0-9]|\.\d)"
_FULL = re.compile(
    rf"(?<![a-z0-9])(?:full[ _-]?dose|normal(?:[ _-]?dose)?|full$){_END}", re.IGNORECASE
)
_REDUCED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_BEGIN}1[-_](\d{{1,3}})[ _-]?dose{_END}",  # 1-10 dose
        rf"(?<![a-z0-9.])1to(\d{{1,3}}){_END}",  # 1to10
        rf"(?<![a-z0-9.])drf[ _-]?(\d{{1,3}}){_END}",  # DRF_10, drf-10, DRF10
        rf"(?<![a-z0-9.])d(\d{{1,3}}){_END}",  # D10
    )
)
_TEST_SET = re.compile(r".*[_-]DRF-([2-9]|[1-9]\d{1,2})(?:\.nii(?:\.gz)?)?", re.IGNORECASE)
_ENTITY = re.compile(r"(?:1to|drf|d)(\d{1,3})|(full|fulldose|normal)", re.IGNORECASE)


def dose_in(name: str) -> int | None:
    """The dose reduction that ``name`` states, 1 for full dose, or None.

    Raises InputError if it states two, or 1/0.
    """
    return _the_one({dose for dose, _ in _matches(name)})


def drf_in(name: str) -> int | None:
    """The dose reduction of a file of the challenge's test sets, as Anonymous-06_DRF-50.nii.gz, or None.

    The name must end in it, and the reduction be one from 2 to 999: other names may hold a D10 that is
    no dose.
    """
    match = _TEST_SET.fullmatch(name)
    return int(match[1]) if match else None


def without_dose(name: str) -> str:
    """``name`` without the part that states the dose, and without separators at its ends."""
    for _, (start, end) in sorted(_matches(name), key=lambda match: -match[1][0]):
        name = name[:start] + name[end:]
    return name.strip(" _-.")


def dose_of_entity(value: str) -> int | None:
    """The dose of a BIDS entity's value: full, fulldose, normal, 1to10, DRF10 or D10."""
    match = _ENTITY.fullmatch(value)
    if match is None:
        return None
    return _the_one({int(match[1])}) if match[1] else FULL


def _matches(name: str) -> list[tuple[int, tuple[int, int]]]:
    found = [(FULL, match.span()) for match in _FULL.finditer(name)]
    for pattern in _REDUCED:
        found += [(int(match[1]), match.span()) for match in pattern.finditer(name)]
    return found


def _the_one(doses: set[int]) -> int | None:
    if 0 in doses:
        raise InputError("a name states the dose 1/0", "rename it")
    if len(doses) > 1:
        several = " and ".join("full" if d == FULL else f"1/{d}" for d in sorted(doses))
        raise InputError(f"a name states two doses, {several}", "rename it")
    return next(iter(doses), None)
