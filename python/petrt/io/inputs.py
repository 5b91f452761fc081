"""Accepts a volume as path, nibabel image, NumPy, CuPy or torch array, and returns results as the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import plain
from petrt.errors import InputError, UsageError
from petrt.imaging.affine import check_affine
from petrt.io import nifti, source
from petrt.io.header import affine_header
from petrt.io.volume import Nonfinite, Volume, VoxelStats, count_voxels
from petrt.values import sizes

Frames = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Loaded:
    """A volume as frames [X, Y, Z], with the function that returns results as the input's kind.

    ``affine_mm`` [4, 4] and ``voxel_mm`` (along the data's axes) are None for a bare array, which lies
    on the model's grid. ``restore`` converts an array of the input's shape to the input's kind.
    ``data``: the frames as they came, [X, Y, Z] or [X, Y, Z, T]. ``volume``: None for an array.
    """

    name: str
    frames: Frames
    affine_mm: NDArray[np.float64] | None
    voxel_mm: tuple[float, float, float] | None
    stats: VoxelStats
    restore: Callable[[NDArray[np.float32]], Any]
    series: bool
    data: NDArray[np.float32]
    volume: Volume | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the file."""
        return () if self.volume is None else self.volume.warnings

    def as_volume(self, voxel_mm: Sequence[float]) -> Volume:
        """The volume, or one of the array: in RAS from the origin on where it has no affine, with voxels of
        ``voxel_mm`` (the model's) where it has no size either."""
        if self.volume is not None:
            return self.volume
        affine = self.affine_mm
        if affine is None:
            affine = np.diag([*(self.voxel_mm or voxel_mm), 1.0])
        header = affine_header(affine, self.data.shape)
        header.set_xyzt_units("mm")
        return Volume(self.data, affine, header, self.stats, source="array")


def load(
    volume: Any,
    affine: Any = None,
    voxel_mm: Any = None,
    nonfinite: Nonfinite = "refuse",
    max_voxels: int = nifti.MAX_VOXELS,
    series: str | None = None,
    force_units: bool = False,
) -> Loaded:
    """Read a volume of any accepted kind.

    A path is NIfTI, or DICOM with the choice of ``series``; a list of paths is the files of a DICOM series.
    ``affine`` [4, 4] and ``voxel_mm`` (three lengths) may be sequences or arrays of any kind of number.
    Raises InputError for an unsuitable volume, and UsageError for ``affine`` or ``voxel_mm`` with a
    volume that has its own.
    """
    if paths_of(volume) is not None:
        _no_grid(affine, voxel_mm, "a file")
        return _from_volume(
            source.read(
                volume,
                series=series,
                force_units=force_units,
                nonfinite=nonfinite,
                max_voxels=max_voxels,
            )
        )
    if series is not None:
        raise UsageError(f"a {type(volume).__name__} has no series to choose", "leave out series")
    if isinstance(volume, Volume):
        _no_grid(affine, voxel_mm, "a Volume")
        return _from_volume(volume)
    if hasattr(volume, "dataobj") and hasattr(volume, "affine"):
        _no_grid(affine, voxel_mm, "an image")
        return _from_volume(nifti.from_image(volume, nonfinite=nonfinite, max_voxels=max_voxels))
    return _from_array(volume, affine, voxel_mm, nonfinite)


def paths_of(volume: Any) -> source.VolumeSource | None:
    """``volume`` where it is a path or a list of paths; None for a volume in memory."""
    if isinstance(volume, str | os.PathLike):
        return volume
    if not isinstance(volume, list | tuple) or not volume:
        return None
    return volume if all(isinstance(each, str | os.PathLike) for each in volume) else None


def give_back(loaded: Loaded, frames: Sequence[NDArray[np.float32]]) -> Any:
    """Results, one per frame, as the input's kind of volume."""
    return loaded.restore(np.stack(frames, axis=-1) if loaded.series else frames[0])


def values_of(image: Any) -> NDArray[np.float32]:
    """The values of a result, as NumPy has them: of a nibabel image, a torch or a CuPy array, or its own."""
    if hasattr(image, "dataobj"):
        return np.asarray(image.dataobj, np.float32)
    if hasattr(image, "detach"):
        image = image.detach().cpu().numpy()
    elif hasattr(image, "get"):
        image = image.get()
    return np.asarray(image, np.float32)


def _from_volume(volume: Volume) -> Loaded:
    series = volume.data.ndim == 4
    return Loaded(
        name=volume.path.name if volume.path else "image",
        frames=_split(volume.data),
        affine_mm=volume.affine_mm,
        voxel_mm=volume.voxel_mm,
        stats=volume.stats,
        restore=lambda data: nifti.to_image(data, volume),
        series=series,
        data=volume.data,
        volume=volume,
    )


def _from_array(volume: Any, affine: Any, voxel_mm: Any, nonfinite: Nonfinite) -> Loaded:
    if affine is not None and voxel_mm is not None:
        raise UsageError("both affine and voxel_mm are given", "give one of them")
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    restore: Callable[[NDArray[np.float32]], Any]
    if torch is not None and isinstance(volume, torch.Tensor):
        _no_subclass(volume, torch.Tensor, torch.nn.Parameter)
        device = volume.device
        array = _from_torch(volume)

        def restore(data: NDArray[np.float32]) -> Any:
            return torch.from_numpy(data).to(device)

    elif cupy is not None and isinstance(volume, cupy.ndarray):
        _no_subclass(volume, cupy.ndarray)
        device = volume.device
        array = volume.get()  # waits for the array's own stream

        def restore(data: NDArray[np.float32]) -> Any:
            with device:
                return cupy.asarray(data)

    elif isinstance(volume, np.ndarray):
        array = plain(volume, "array")
        masked = isinstance(volume, np.ma.MaskedArray)  # hides nothing, and stays what it is

        def restore(data: NDArray[np.float32]) -> Any:
            return np.ma.masked_array(data) if masked else data

    else:
        raise InputError(
            f"cannot reconstruct a {type(volume).__name__}",
            "pass a path, a nibabel image, or a NumPy, CuPy or torch array",
        )
    if array.ndim not in (3, 4) or array.size == 0:
        raise InputError(f"array of shape {array.shape}", "expected [X, Y, Z] or [X, Y, Z, T]")
    if array.dtype.kind not in "iufb":
        raise InputError(f"array of type {array.dtype}", "real numbers are needed")
    with np.errstate(over="ignore"):  # overflow becomes infinity, which is checked below
        data = np.asarray(array, np.float32)
    if nonfinite == "zero" and np.shares_memory(data, array):
        data = data.copy()  # the caller's array must not change
    stats = count_voxels(data, "array", nonfinite)
    if affine is not None:
        affine = check_affine(affine, "array", "correct it")
        voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if voxel_mm is not None:
        voxel_mm = sizes("array: voxel_mm", voxel_mm, error=InputError)
    return Loaded("array", _split(data), affine, voxel_mm, stats, restore, data.ndim == 4, data)


def _split(data: NDArray[np.float32]) -> Frames:
    return [data[..., t] for t in range(data.shape[3])] if data.ndim == 4 else [data]


def _from_torch(tensor: Any) -> NDArray[Any]:
    """The values of a torch tensor. Raises InputError for one that NumPy has no form of."""
    tensor = tensor.detach().cpu()
    try:
        if tensor.is_floating_point() and tensor.element_size() < 4:  # NumPy has no bfloat16
            tensor = tensor.float()
        return np.asarray(tensor.resolve_neg().numpy())
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"a tensor of {tensor.dtype} in layout {tensor.layout} cannot be read",
            "pass a dense tensor of real numbers",
        ) from error


def _no_subclass(volume: Any, *kinds: type) -> None:
    """Raise InputError for an array of a class of its own, such as one with an affine: that would be lost."""
    if type(volume) not in kinds:
        raise InputError(
            f"array: a {type(volume).__name__} may hold more than its values",
            f"pass the values alone, as a {kinds[0].__name__}, and the grid as affine or voxel_mm",
        )


def _no_grid(affine: Any, voxel_mm: Any, kind: str) -> None:
    if affine is not None or voxel_mm is not None:
        raise UsageError(f"{kind} has its own grid", "leave out affine and voxel_mm")
