"""The reference of configuration keys as Markdown, made from the pydantic models that check them."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from petrt.model.spec import ModelSpec
from petrt.train.config import TrainConfig

BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def training() -> str:
    """A section for each table of a training configuration: what it says of itself, then its keys."""
    return _sections(_models(TrainConfig, ""))


def bundle() -> str:
    """The keys of ``model`` in a bundle's ``model.json``, without the tables that ``training`` has."""
    known = {model for _, model in _models(TrainConfig, "")}
    return _sections((p, m) for p, m in _models(ModelSpec, "model") if m not in known)


def _sections(models: Iterable[tuple[str, type[BaseModel]]]) -> str:
    parts = []
    for path, model in models:
        parts += [
            f"### [{path}]" if path else "### Top of the file",
            *_text(model),
            _table(model, path),
        ]
    return "\n\n".join(parts) + "\n"


def _models(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for inner in _inner(field.annotation):
            yield from _models(inner, f"{path}.{name}".lstrip("."))


def _inner(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    parts = typing.get_args(annotation) if _is_union(annotation) else ()
    return [model for part in parts for model in _inner(part)]


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _text(model: type[BaseModel]) -> list[str]:
    """The docstring of a model, as paragraphs of Markdown."""
    text = re.sub(r"``([^`]+)``", r"`\1`", inspect.getdoc(model) or "")
    text = re.sub(r"(?<!`)\*(?!`)", r"\\*", text)
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", text)]


def _table(model: type[BaseModel], path: str) -> str:
    rows = ["| key | values | default |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        rows.append(f"| `{name}` | {_values(field, f'{path}.{name}')} | {_default(field)} |")
    return "\n".join(rows)


def _values(field: FieldInfo, path: str) -> str:
    if inner := _inner(field.annotation):
        link = f"the table `[{path.lstrip('.')}]` ({inner[0].__name__})"
        return link + (", or none" if type(None) in typing.get_args(field.annotation) else "")
    limits = [
        f"{sign} {getattr(bound, key)}"
        for bound in field.metadata
        for key, sign in BOUNDS.items()
        if getattr(bound, key, None) is not None
    ]
    patterns = [f"`{bound.pattern}`" for bound in field.metadata if getattr(bound, "pattern", None)]
    return ", ".join([kind(field.annotation), *limits, *patterns])


def kind(annotation: Any) -> str:
    """A type in words: ``int``, ``(int, int)``, ``"l1"`` or ``"l2"``."""
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
    if _is_union(annotation):
        return " or ".join("none" if part is type(None) else kind(part) for part in parts)
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return f"list of {kind(parts[0])}"
        return f"({', '.join(map(kind, parts))})"
    if origin is dict:
        return f"table of {kind(parts[0])} to {kind(parts[1])}"
    names = {"bool": "true or false", "str": "text", "int": "whole number", "float": "number"}
    return names.get(annotation.__name__, annotation.__name__)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    return "none" if value is None else f"`{toml(value)}`"


def toml(value: Any) -> str:
    """A default as it would stand in a TOML file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    return str(value)
