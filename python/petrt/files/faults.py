"""What is wrong in a file that a specification describes, in one line."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError


def first_fault(error: ValidationError, kind: type[BaseModel]) -> str:
    """The key that is wrong and why. An unknown key goes first, since a misspelt key often is a missing one,
    too; it is told with the nearest that ``kind`` has there."""
    faults = error.errors()
    unknown = (each for each in faults if each["type"] == "extra_forbidden")
    first = next(unknown, faults[0])
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg'].removeprefix('Value error, ')}"
    known = [name for model in _at(kind, first["loc"][:-1]) for name in model.model_fields]
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    if near:
        return f"{key}: unknown key; the nearest is {near[0]}"
    return f"{key}: unknown key; known are {', '.join(known)}" if known else f"{key}: unknown key"


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
