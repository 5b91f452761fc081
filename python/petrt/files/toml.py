"""TOML files that a specification describes."""

from __future__ import annotations

import sys
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from petrt.errors import InputError
from petrt.files.faults import first_fault

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Kind = TypeVar("Kind", bound=BaseModel)


def parsed(kind: type[Kind], text: str, name: str) -> Kind:
    """``text`` as a ``kind``. Raises InputError, which names the first wrong key of the file ``name``."""
    try:
        return kind.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise InputError(f"{name}: {first_fault(error, kind)}") from error
