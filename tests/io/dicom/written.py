"""Derived series, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petrt.io import nifti
from petrt.io.dicom import series as dicom
from petrt.io.dicom.derivation import Derivation
from petrt.io.dicom.writer import write_series

BY = Derivation("demo", "ab" * 32, "0.1.0", '{"seed": 0}', "2 samples.", key="0123456789abcde")


def assert_written_back(volume: nifti.Volume, out: Path, **how: Any) -> nifti.Volume:
    """Write a volume unchanged and read it again: half a step in each slice, the same grid and total."""
    write_series(out, volume.data, volume, BY, **how)
    again = dicom.read(out, force_units=True)
    assert volume.series is not None
    assert again.series is not None
    assert again.series.units == volume.series.units
    np.testing.assert_array_equal(again.affine, volume.affine)
    np.testing.assert_array_equal(again.header["pixdim"], volume.header["pixdim"])
    frames = zip(volume.series.frames, again.series.frames, strict=True)
    for t, (before, after) in enumerate(frames):
        for k, (source, result) in enumerate(zip(before, after, strict=True)):
            index = (..., k, t) if volume.data.ndim == 4 else (..., k)
            step = float(result.header.text("RescaleSlope")) * source.factor
            assert np.abs(again.data[index] - volume.data[index]).max() <= 0.502 * step
    total = volume.data.sum(dtype=np.float64)
    assert again.data.sum(dtype=np.float64) == pytest.approx(total, rel=1e-5)
    return again
