"""Where ``petrt.reconstruct`` writes its result, and in what format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from petrt.diffusion.dose import told
from petrt.errors import UsageError
from petrt.inference.settings import derivation_of, key_of, settings_of
from petrt.io import nifti, output
from petrt.io.dicom.writer import Compression, check_compression
from petrt.io.output import Kind
from petrt.io.source import sha256

if TYPE_CHECKING:
    from petrt.inference.reconstruction import Reconstruction
    from petrt.inference.reconstructor import Reconstructor
    from petrt.io.volume import Volume


@dataclass(frozen=True)
class Saving:
    """An output that can be written, and the input that it is of."""

    source: Any
    series: str | None
    path: Path
    kind: Kind
    compress: Compression | None
    overwrite: bool

    def write(
        self,
        result: Reconstruction,
        like: Volume | None,
        reconstructor: Reconstructor,
        dose: float | str | None,
        nonfinite: str,
    ) -> None:
        """Write the image of a result. ``like``: the input, where it was read as a Volume."""
        key, settings = "", ""
        if self.kind == "series":
            settings = settings_of(reconstructor, told(dose, reconstructor.bundle.model), nonfinite)
            key = key_of(settings, sha256(self.source, self.series))
        output.write(
            self.path,
            result.image.get_fdata(dtype=np.float32),
            like or nifti.from_image(result.image),
            self.kind,
            derivation_of(settings, key, result.stats, "image"),
            compress=self.compress,
            overwrite=self.overwrite,
        )


def saving(
    source: Any,
    series: str | None,
    out: Any,
    out_format: str | None,
    compress: Compression | None,
    overwrite: bool,
) -> Saving:
    """The output ``out`` of the input ``source``, checked before any work. Raises UsageError."""
    paths = source if isinstance(source, list | tuple) else [source]
    paths = [path for path in paths if isinstance(path, str | os.PathLike)]
    if not isinstance(out, str | os.PathLike):
        raise UsageError(f"out is a {type(out).__name__}", "give a path")
    if not paths:
        raise UsageError("out needs a path as input", "save the returned image yourself")
    path = Path(out)
    kind = output.kind_of(path, output.format_for(source, out_format, path))
    check_compression(compress)
    output.check(path, kind, paths, overwrite=overwrite)
    return Saving(source, series, path, kind, compress, overwrite)
