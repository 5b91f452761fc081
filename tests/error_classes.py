"""Every class of error that petrt has."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import petrt
import petrt.export
from petrt.errors import PetrtError


def load_all() -> None:
    """Every module of petrt, so that all error classes are there."""
    for package in (petrt, petrt.export):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "__main__" not in module.name and "petrt._" not in module.name:
                try:
                    importlib.import_module(module.name)
                except (ImportError, PetrtError):  # needs what is not installed here
                    continue


def subclasses(kind: type[PetrtError]) -> Iterator[type[PetrtError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)
