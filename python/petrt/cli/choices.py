"""Options that take one of a few words: their help lists the words, and completion offers them.

An annotation holds ``OneOf`` beside ``typer.Option``. Commands get plain texts.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any


class OneOf:
    """The words that an option of the type str, or a list of them, takes."""

    def __init__(self, *words: str) -> None:
        self.words = words


def enumerated(annotation: Any) -> Any:
    """The annotation with an enumeration of its words instead of str, as Typer takes choices; any other
    annotation unchanged."""
    metadata = getattr(annotation, "__metadata__", ())
    found = next((each for each in metadata if isinstance(each, OneOf)), None)
    if found is None:
        return annotation
    kind = Enum("Word", {word: word for word in found.words})  # type: ignore[misc]
    others = [each for each in metadata if each is not found]
    whole = (_replaced(annotation.__origin__, kind), *others)
    return Annotated[whole] if others else whole[0]


def _replaced(kind: Any, words: type[Enum]) -> Any:
    """``str``, ``str | None``, ``list[str]`` and ``list[str] | None`` with ``words`` for str."""
    if kind is str:
        return words
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return list[words]  # type: ignore[valid-type]
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        (inner,) = (part for part in parts if part is not type(None))
        return typing.Optional[_replaced(inner, words)]  # noqa: UP045 - of a type made here
    raise TypeError(f"no choices of {kind}")


def plain(value: Any) -> Any:
    """What Typer made of an option, with texts for members of enumerations."""
    if isinstance(value, list | tuple):
        return type(value)(plain(each) for each in value)
    return value.value if isinstance(value, Enum) else value


def offering(*words: str) -> Callable[[str], list[str]]:
    """Completes an option that takes these words, and others: Typer's ``autocompletion``."""

    def begun(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return begun


def offering_list(whole: str, *words: str) -> Callable[[str], list[str]]:
    """Completes an option that takes ``whole``, or some of the words with commas between them."""

    def begun(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        free = [word for word in words if word not in before.split(",")]
        return [
            f"{before}{comma}{word}"
            for word in (free if comma else (whole, *words))
            if word.startswith(last)
        ]

    return begun


def shipped(incomplete: str) -> list[str]:
    """Completes the name of a shipped model; bundles have paths."""
    from petrt.model.bundle import shipped_models

    return offering(*shipped_models())(incomplete)
