"""One volume through a model: petrt.reconstruct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from petrt.inference.reconstructor import Reconstructor
from petrt.inference.save import saving
from petrt.io import nifti, source
from petrt.io.dicom.writer import Compression
from petrt.io.volume import Nonfinite


def reconstruct(
    volume: Any,
    out: str | Path | None = None,
    *,
    model: str | Path = "demo",
    affine: ArrayLike | None = None,
    voxel_mm: ArrayLike | None = None,
    dose: float | str | None = None,
    nonfinite: Nonfinite = "refuse",
    max_voxels: int = nifti.MAX_VOXELS,
    series: str | None = None,
    force_units: bool = False,
    out_format: str | None = None,
    compress: Compression | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Any:
    """Reconstruct one volume and give back the same kind; ``options`` as for ``Reconstructor``.

    Among them are ``preset``, "fast", "paper" or "coarse", and ``strength``. ``dose`` is the fraction of the
    full dose, for a model that takes it. An image that changes the total activity by more than 10 % is
    refused, unless ``allow_activity_change`` is among the options.
    A path gives a nibabel image; with ``out`` the image is also written there, over an existing result only
    with ``overwrite``: NIfTI, or of DICOM a derived PET series in a folder, unless ``out`` is named as NIfTI.
    ``out_format`` ("nifti" or "dicom") chooses; ``compress`` ("rle" or "jpegls") is for DICOM.
    ``nonfinite``, ``max_voxels``, ``series`` and ``force_units`` are those of calling a ``Reconstructor``.
    For several volumes keep one.
    """
    target = None
    if out is not None:
        target = saving(volume, series, out, out_format, compress, overwrite)
    reconstructor = Reconstructor(model, **options)
    like = None
    if target is not None and target.kind == "series":  # its slices are templates of the result's
        like = source.read(
            volume,
            series=series,
            force_units=force_units,
            max_voxels=max_voxels,
            nonfinite=nonfinite,
        )
    result = reconstructor(
        volume if like is None else like,
        affine=affine,
        voxel_mm=voxel_mm,
        dose=dose,
        nonfinite=nonfinite,
        max_voxels=max_voxels,
        series=series if like is None else None,
        force_units=force_units,
    )
    if target is not None:
        target.write(result, like, reconstructor, dose, nonfinite)
    return result.image
