"""A specification's values as a TOML file to edit: each key with what it may be, each table with its text."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from petrt.files.faults import specifications

BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
WIDTH = 100


def written(values: BaseModel, title: str) -> str:
    """All keys of ``values``, which ``petrt.files.toml`` reads back as the same; ``title`` is the first line.

    What is None has no form in TOML and stands in a comment.
    """
    first = textwrap.fill(title, WIDTH, initial_indent="# ", subsequent_indent="# ")
    tables = ("\n".join(lines) for lines in _tables(values, ""))
    return "\n\n".join([first, *tables]) + "\n"


def _tables(values: BaseModel, path: str) -> Iterator[list[str]]:
    """The lines of each table, a table before those in it."""
    fields = type(values).model_fields
    inner = {name: getattr(values, name) for name in fields}
    below = {name: each for name, each in inner.items() if isinstance(each, BaseModel)}
    lines = [*_comment(type(values)), *([f"[{path}]"] if path else [])]
    lines += [
        _line(name, inner[name], field) for name, field in fields.items() if name not in below
    ]
    yield lines
    for name, each in below.items():
        yield from _tables(each, f"{path}.{name}".lstrip("."))


def _line(name: str, value: Any, field: FieldInfo) -> str:
    told = "; ".join(filter(None, (_allowed(field), _default(field))))
    if value is None:
        return f"# {name} is not given  # {told}"
    return f"{name} = {toml(value)}  # {told}"


def _allowed(field: FieldInfo) -> str:
    if specifications(field.annotation):
        return "a table, or none"
    limits = [
        f"{sign} {getattr(bound, key)}"
        for bound in field.metadata
        for key, sign in BOUNDS.items()
        if getattr(bound, key, None) is not None
    ]
    return ", ".join([kind(field.annotation).replace("`", ""), *limits])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "" if isinstance(default, BaseModel) else f"default {_shown(default)}"


def _shown(value: Any) -> str:
    return "none" if value is None else toml(value)


def _comment(model: type[BaseModel]) -> Iterator[str]:
    """The docstring as comment lines."""
    text = re.sub(r"``([^`]+)``", r"\1", inspect.getdoc(model) or "")
    for block in re.split(r"\n\s*\n", text):
        yield from (f"# {line}" for line in textwrap.wrap(" ".join(block.split()), WIDTH - 2))


def kind(annotation: Any) -> str:
    """A type in words: ``whole number``, ``(number, number)``, ``"l1"``, ``"l2"``."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = [
            f"{sign} {getattr(bound, key)}"
            for bound in getattr(parts[1], "metadata", parts[1:])
            for key, sign in BOUNDS.items()
            if getattr(bound, key, None) is not None
        ]
        return " ".join([kind(parts[0]), *limits])
    if origin is typing.Literal:
        return ", ".join(f'`"{part}"`' if isinstance(part, str) else f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if part is type(None) else kind(part) for part in parts)
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return f"list of {kind(parts[0])}"
        return f"({', '.join(map(kind, parts))})"
    if origin is dict:
        return f"table of {kind(parts[0])} to {kind(parts[1])}"
    names = {"bool": "true or false", "str": "text", "int": "whole number", "float": "number"}
    return names.get(annotation.__name__, annotation.__name__)


def toml(value: Any) -> str:
    """A value as it stands in a TOML file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml(each)}' for key, each in value.items())} }}"
    return str(value)
