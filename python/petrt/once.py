"""One volume, one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.errors import UsageError
from petrt.inference.reconstructor import Reconstructor


def reconstruct(
    volume: Any,
    out: str | Path | None = None,
    *,
    model: str | Path = "demo",
    affine: NDArray[np.float64] | None = None,
    voxel_mm: tuple[float, float, float] | None = None,
    dose: float | None = None,
    **options: Any,
) -> Any:
    """Reconstruct one volume and give back the same kind; ``options`` as for ``Reconstructor``.

    Among them is ``preset``, "paper" or "fast". ``dose`` is the fraction of the full dose, for a model
    that takes it.
    A path gives a nibabel image; with ``out`` the image is also written there (NIfTI, never over an
    existing file). For several volumes keep a ``Reconstructor``.
    """
    from petrt.io import nifti

    source = volume if isinstance(volume, str | Path) else None
    if out is not None:
        if source is None:
            raise UsageError("out needs a path as input", "save the returned image yourself")
        nifti.check_nifti_output(out, inputs=[source])
    reconstructor = Reconstructor(model, **options)
    result = reconstructor(volume, affine=affine, voxel_mm=voxel_mm, dose=dose).image
    if out is not None:
        like = nifti.from_image(result)
        nifti.write(out, like.data, like)
    return result
