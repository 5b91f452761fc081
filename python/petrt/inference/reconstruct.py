"""One volume through a model: petrt.reconstruct."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from petrt.inference import defaults
from petrt.inference.frames import Progress
from petrt.inference.reconstructor import Reconstructor
from petrt.inference.save import target_of
from petrt.io.inputs import paths_of
from petrt.io.volume import Nonfinite

if TYPE_CHECKING:
    from petrt.engines.base import Engine
    from petrt.io.dicom.writer import Compression
    from petrt.model.bundle import Bundle


def reconstruct(
    volume: Any,
    out: str | Path | None = None,
    *,
    model: str | Path | Bundle = defaults.MODEL,
    affine: ArrayLike | None = None,
    voxel_mm: ArrayLike | None = None,
    dose: float | str | None = None,
    samples: int | None = None,
    preset: str | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    strength: float = defaults.STRENGTH,
    seed: int = defaults.SEED,
    engine: str | Engine = defaults.ENGINE,
    device: str = defaults.DEVICE,
    precision: str | None = None,
    threads: int | None = None,
    batch: tuple[int, int] | None = None,
    memory: int | None = None,
    skip_background: bool = defaults.SKIP_BACKGROUND,
    allow_activity_change: bool = False,
    nonfinite: Nonfinite = defaults.NONFINITE,
    max_voxels: int = defaults.MAX_VOXELS,
    series: str | None = None,
    force_units: bool = False,
    out_format: str | None = None,
    compress: Compression | None = None,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
) -> Any:
    """Reconstruct one volume and give back the image as the same kind. For several volumes, and for the
    uncertainty, keep a ``Reconstructor``.

    Args:
        volume: a path (NIfTI; a DICOM folder, file, DICOMDIR or zip), a list of the files of a DICOM series,
            a nibabel image, or a NumPy, CuPy or torch array [X, Y, Z] or [X, Y, Z, T]. A path gives a nibabel
            image.
        out: where the image is written, too, as ``petrt reconstruct`` does: NIfTI, or of DICOM a derived PET
            series in a folder, unless this is named as NIfTI.
        model: a bundle's path, the name of a model shipped with petrt, or a loaded bundle.
        affine: [4, 4], from the voxels of an array to RAS millimetres.
        voxel_mm: the three voxel sizes of an array in mm, instead of an affine.
        dose: the fraction of the full dose, as 0.05 or "1/20"; by default "auto", from the noise of the
            image, or for a model that cannot tell it the one it was mostly trained on.
        samples: how many samples are averaged; by default 8.
        preset: "fast" (one step; the default), "paper" (the model's own sampler; the default of a model
            without a coarse network) or "coarse" (no denoiser).
        steps, sampler: the reverse process instead of a preset's; sampler "ddpm", "ddim", "dpmpp2m", "mean".
        strength: from 0, the input, to 1, the model's image.
        seed: of the noise.
        engine: "auto", "native", "onnxruntime", "openvino", "torch", "tensorrt" or "tensorrt-rtx".
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "fp32", "fp16" or "bf16"; by default the engine's.
        threads: CPU workers; by default all cores this process may use.
        batch: most (slices, samples) in one call of the denoiser; by default what suits the device.
        memory: most bytes, of the process on a CPU, of a batch on a GPU; by default 80 % of what is free.
        skip_background: leave out slices without any voxel above 0; they are 0.
        allow_activity_change: give an image also where it changes the total activity by more than 10 %.
        nonfinite: "refuse", or "zero" to replace NaN and infinite voxels.
        max_voxels: files and images with more voxels are refused.
        series: the SeriesInstanceUID to read, where there are several PET series.
        force_units: take DICOM series that are not quantitative, values unchanged.
        out_format: "nifti" or "dicom", whatever came in and ``out`` is named.
        compress: "rle" or "jpegls", of DICOM.
        overwrite: replace ``out``.
        progress: called with (slices done, slices in all). True is a progress bar, False none; by default
            there is one in a notebook and at a Python prompt.

    Raises as making and calling a ``Reconstructor`` does, and UsageError for an ``out`` that exists or cannot
    be written.
    """
    if out is not None:
        target_of(paths_of(volume), out, "image", out_format, compress, overwrite)
    reconstructor = Reconstructor(
        model,
        samples=samples,
        preset=preset,
        steps=steps,
        sampler=sampler,
        strength=strength,
        seed=seed,
        engine=engine,
        device=device,
        precision=precision,
        threads=threads,
        batch=batch,
        memory=memory,
        skip_background=skip_background,
        allow_activity_change=allow_activity_change,
    )
    result = reconstructor(
        volume,
        affine=affine,
        voxel_mm=voxel_mm,
        dose=dose,
        nonfinite=nonfinite,
        max_voxels=max_voxels,
        series=series,
        force_units=force_units,
        progress=progress,
    )
    if out is not None:
        result.save(out, out_format=out_format, compress=compress, overwrite=overwrite)
    return result.image
