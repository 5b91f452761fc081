"""The reference of configuration keys as Markdown, made from the pydantic models that check them."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from petrt.files.faults import specifications
from petrt.files.toml_text import BOUNDS, kind, toml
from petrt.model.spec import ModelSpec
from petrt.train.config import TrainConfig


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
        for inner in specifications(field.annotation):
            yield from _models(inner, f"{path}.{name}".lstrip("."))


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
    if inner := specifications(field.annotation):
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


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    return "none" if value is None else f"`{toml(value)}`"
