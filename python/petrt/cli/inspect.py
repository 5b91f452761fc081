"""petrt inspect: describes a model or a volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from petrt.cli.output import Output, add_row, print_json
from petrt.errors import InputError
from petrt.files.names import shown


def inspect(
    what: Annotated[str, typer.Argument(metavar="MODEL|FILE", help="A bundle or a NIfTI file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a bundle's contents, precision and measured errors, or a volume's grid and values."""
    volume = str(what).lower().endswith((".nii", ".nii.gz", ".hdr", ".img"))
    facts = describe_volume(Path(what)) if volume else describe_bundle(what)
    if as_json:
        print_json(facts)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in flatten(facts):
        add_row(table, key, value)
    Output().print(table)


def describe_bundle(source: str) -> dict[str, Any]:
    """The content of ``model.json``, with the bundle's identity."""
    from petrt.model.bundle import load_bundle

    bundle = load_bundle(source)
    manifest = bundle.manifest.model_dump(mode="json")
    return {"identity": bundle.identity, **manifest}


def describe_volume(path: Path) -> dict[str, Any]:
    """Grid, header and range of a NIfTI file. Raises InputError."""
    import nibabel
    import numpy as np

    from petrt.io import nifti

    volume = nifti.read(path, nonfinite="zero")
    if volume.data.size == 0:
        raise InputError(f"{shown(path)} is empty")
    return {
        "file": path.name,
        "format": volume.source,
        "shape": list(volume.data.shape),
        "voxel_mm": [round(size, 4) for size in volume.voxel_mm],
        "orientation": "".join(nibabel.orientations.aff2axcodes(volume.affine)),
        "qform_code": int(volume.header["qform_code"]),
        "sform_code": int(volume.header["sform_code"]),
        "minimum": float(np.min(volume.data)),
        "maximum": float(np.max(volume.data)),
        "mean": float(np.mean(volume.data, dtype=np.float64)),
        "negative_voxels": volume.stats.negative,
        "nonfinite_voxels": volume.stats.nonfinite,
    }


def flatten(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested facts as rows (dotted key, value)."""
    rows: list[tuple[str, Any]] = []
    for key, value in facts.items():
        if isinstance(value, dict):
            rows += flatten(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows
