"""Measurements kept in the engine folder: one JSON file for each kind, one row for each key.

They only help to choose: a file that cannot be read or written is said once in the log and otherwise as
good as none.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import Generic, Literal, TypeVar

from filelock import FileLock
from pydantic import ValidationError

from petrt.engines.store.folder import private_root
from petrt.errors import PetrtError
from petrt.files.atomic import atomic_write_bytes
from petrt.model.spec import Spec

logger = logging.getLogger("petrt")

MAX_BYTES = 1 << 20


class Row(Spec):
    """One measurement; one of the same ``key`` takes its place."""

    @property
    @abstractmethod
    def key(self) -> tuple[object, ...]: ...


R = TypeVar("R", bound=Row)


class Rows(Spec, Generic[R]):
    """The file."""

    format: Literal["petrt-measured"] = "petrt-measured"
    version: Literal[1] = 1
    measured: tuple[R, ...] = ()


def keep(name: str, kind: type[R], row: R) -> None:
    """Keep ``row`` in the file ``name`` in place of an earlier one of its key."""
    try:
        root = private_root(create=True)
        assert root is not None
        with FileLock(root / f".{name}.lock", mode=0o600):
            others = [other for other in _read(root, name, kind) if other.key != row.key]
            content = Rows[R](measured=(*others, row))
            atomic_write_bytes(
                root / name, content.model_dump_json(indent=2).encode(), overwrite=True
            )
    except (PetrtError, OSError) as error:
        logger.info("the measured time cannot be kept: %s", error)


def kept(name: str, kind: type[R]) -> list[R]:
    """All rows of the file ``name``."""
    try:
        root = private_root()
    except PetrtError:  # the folder of engines itself cannot be used: its own check says so
        return []
    return [] if root is None else _read(root, name, kind)


def _read(root: Path, name: str, kind: type[R]) -> list[R]:
    path = root / name
    try:
        with path.open("rb") as stream:
            return list(Rows[kind].model_validate_json(stream.read(MAX_BYTES)).measured)  # type: ignore[valid-type]
    except FileNotFoundError:
        return []
    except (OSError, ValidationError):
        logger.info("%s is not readable and ignored; delete it", path)
        return []
