"""What is wrong in a file that a specification describes, in one line."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

MOST = 8  # unknown keys in one line


def first_fault(error: ValidationError, kind: type[BaseModel], within: str = "") -> str:
    """The key that is wrong and why. Unknown keys go first, since a misspelt key often is a missing one, too:
    each is told with the nearest that ``kind`` has there. After ``MOST`` of them the others are counted.
    ``within``: what stands before each key."""
    faults = error.errors()
    unknown = [each["loc"] for each in faults if each["type"] == "extra_forbidden"]
    if unknown:
        more = [f"{len(unknown) - MOST} more unknown keys"] if len(unknown) > MOST else []
        return ". ".join([within + _unknown(place, kind) for place in unknown[:MOST]] + more)
    return f"{within}{_name(faults[0]['loc'])}: {faults[0]['msg'].removeprefix('Value error, ')}"


def _unknown(place: Sequence[int | str], kind: type[BaseModel]) -> str:
    """What is told of the unknown key at ``place``."""
    text = f"{_name(place)}: unknown key"
    known = [name for model in _at(kind, place[:-1]) for name in model.model_fields]
    near = difflib.get_close_matches(str(place[-1]), known, n=1)
    if near:
        return f"{text}; the nearest is {near[0]}"
    return f"{text}; known are {', '.join(known)}" if known else text


def _name(place: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in place)


def _at(kind: type[BaseModel], place: Sequence[int | str]) -> Iterator[type[BaseModel]]:
    """The specifications that a file of ``kind`` may have at ``place``."""
    if not place:
        yield kind
        return
    first, *rest = place
    field = kind.model_fields.get(str(first))
    for inner in () if field is None else specifications(field.annotation):
        yield from _at(inner, rest)


def specifications(annotation: Any) -> list[type[BaseModel]]:
    """The specifications in a type: itself, or the parts of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in typing.get_args(annotation) for each in specifications(part)]
