"""Small things that tests of several folders need."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest

NOBODY = 65534


def contents(path: Path) -> dict[str, bytes]:
    """Every file below ``path`` by its name within; of a file, itself."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    files = (file for file in sorted(path.rglob("*")) if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def write_nifti(path: Path, data: np.ndarray) -> Path:
    """``data`` in voxels of 2 mm."""
    nibabel.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(path)
    return path


def leave_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots and pictures are empty from now on; they take most of the time of a page."""
    monkeypatch.setattr("petrt.evaluation.report.figure._drawn", lambda *_, **__: b"<svg></svg>")


@contextmanager
def not_as_root(folder: Path) -> Iterator[None]:
    """Acts as the owner of what lies in ``folder``, who is not root: that one may read and write everything.

    What is imported meanwhile must have been imported before.
    """
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    above = [path for path in folder.parents if path.stat().st_mode & 0o055 != 0o055]
    modes = {path: path.stat().st_mode for path in above}
    for path, mode in modes.items():
        path.chmod(mode | 0o055)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


@contextmanager
def allocating_less(most: float) -> Iterator[None]:
    """Holds that the block never has ``most`` bytes of its own or more; says so in place of its outcome."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most, f"{peak} bytes at most"


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    """In dB of the largest expected value; infinite for equal images."""
    error = float(np.mean((found.astype(np.float64) - expected) ** 2))
    return float("inf") if error == 0 else 10 * np.log10(float(expected.max()) ** 2 / error)
