"""Where a reconstruction is written, and as what: as ``petrt reconstruct`` writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from petrt.arrays import Array
from petrt.errors import UsageError
from petrt.evaluation.calibration import std_description
from petrt.files.atomic import atomic_write_bytes
from petrt.files.outputs import check_output
from petrt.inference.origin import Origin, made_of
from petrt.inference.settings import derivation_of
from petrt.io import output
from petrt.io.dicom.derivation import Role
from petrt.io.dicom.writer import Compression, check_compression
from petrt.io.inputs import values_of
from petrt.io.output import Kind
from petrt.io.volume import DESCRIPTION
from petrt.values import switch, word

if TYPE_CHECKING:
    from petrt.inference.reconstruction import Reconstruction

ROLES: tuple[Role, ...] = ("image", "std", "coarse")
COARSE = "petrt coarse prediction; not for diagnostic use"
PICTURE, PAGE = ".png", ".html"


def target_of(
    source: Any,
    path: Any,
    role: str = "image",
    out_format: str | None = None,
    compress: Compression | None = None,
    overwrite: bool = False,
) -> tuple[Path, Kind]:
    """The output ``path`` of an input from ``source`` (None: no file), and its kind, checked before any work.
    Raises UsageError."""
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"out is a {type(path).__name__}", "give a path")
    target = Path(path)
    form = output.format_for(source, out_format, target)
    kind = output.kind_of(target, form, deviation=role == "std")
    check_compression(compress)
    output.check(target, kind, _paths(source), overwrite=switch("overwrite", overwrite))
    return target, kind


def save(
    result: Reconstruction,
    path: Any,
    what: str,
    out_format: str | None,
    compress: Compression | None,
    overwrite: bool,
) -> None:
    """``Reconstruction.save``."""
    origin, role = made_of(result), ROLES[ROLES.index(word("what", what, ROLES))]
    name = os.fspath(path).lower() if isinstance(path, str | os.PathLike) else ""
    if name.endswith((PICTURE, PAGE)):
        if role != "image" or out_format is not None or compress is not None:
            raise UsageError(
                f"{PICTURE} and {PAGE} show all of a result",
                "leave out what, out_format and compress",
            )
        _save_shown(result, origin, Path(path), switch("overwrite", overwrite))
        return
    target, kind = target_of(origin.source, path, role, out_format, compress, overwrite)
    data, description = written_as(result, role)
    output.write(
        target,
        data,
        origin.volume,
        kind,
        derivation_of(origin.settings, origin.key(), result.stats, role),
        description=description,
        compress=compress,
        overwrite=overwrite,
    )


def written_as(result: Reconstruction, role: Role) -> tuple[Array, str]:
    """The values of a part of a result as they are written, and their description in a NIfTI header.

    The coarse prediction is not below 0, as the image of the preset ``coarse``. Raises UsageError where there
    is no standard deviation.
    """
    if role == "image":
        return values_of(result.image), DESCRIPTION
    if role == "coarse":
        return np.maximum(values_of(result.coarse), 0), COARSE
    if result.std is None:
        raise UsageError("there is no std without at least two samples", "give samples=8")
    return values_of(result.std), std_description(result.stats["std"])


def _save_shown(result: Reconstruction, origin: Origin, path: Path, overwrite: bool) -> None:
    """Write the picture or the page of a result."""
    from petrt.inference.shown import page_of, picture_of

    check_output(path, _paths(origin.source), overwrite=overwrite)
    is_page = path.name.lower().endswith(PAGE)
    content = page_of(result).encode() if is_page else picture_of(result)
    atomic_write_bytes(path, content, overwrite=overwrite)


def _paths(source: Any) -> list[Any]:
    """The paths that an input was read from."""
    if source is None:
        return []
    return list(source) if isinstance(source, list | tuple) else [source]
