"""Cases of a run that have names alone."""

from __future__ import annotations

from pathlib import Path

from petrt.cli.cases import InputCase


def cases(names: str) -> list[InputCase]:
    return [InputCase(Path(name), Path(f"{name}.nii"), None, None, None) for name in names]
