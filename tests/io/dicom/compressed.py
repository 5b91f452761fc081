"""Compressed objects."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGLosslessSV1

from tests.io.dicom.lossless_jpeg import lossless_jpeg


def compress(path: Path, syntax: UID) -> None:
    dataset = pydicom.dcmread(path)
    if syntax == JPEGLosslessSV1:
        dataset.PixelRepresentation = 0  # its values are unsigned
        stored = dataset.pixel_array
        dataset.PixelData = encapsulate([lossless_jpeg(stored)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax)
    dataset.save_as(path)
