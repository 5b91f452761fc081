"""petrt inspect: describes a model or a volume."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from petrt.cli.options import AllSeries, ForceUnits, SeriesUids
from petrt.cli.output import Output, add_row, print_json
from petrt.errors import InputError, UsageError
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.io.dicom.series import SeriesInfo


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FILE",
            help="A bundle, a NIfTI file, or a DICOM folder, file, DICOMDIR or zip.",
        ),
    ],
    series: SeriesUids = None,
    all_series: AllSeries = False,
    force_units: ForceUnits = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a bundle's contents, precision and measured errors, or a volume's grid and values.

    Of a DICOM input with several PET series, and no choice, the list of its series.
    """
    facts = describe(what, series, all_series, force_units)
    if as_json:
        print_json(facts)
        return
    console = Output()
    for each in facts if isinstance(facts, list) else [facts]:
        table = Table(show_header=False, box=None, pad_edge=False)
        for key, value in flatten(each):
            add_row(table, key, value)
        console.print(table)


def describe(
    what: str, series: list[str] | None, every: bool, force_units: bool
) -> dict[str, Any] | list[dict[str, Any]]:
    """The facts of a bundle or a volume; of DICOM those of all series, or of all that are asked for."""
    from petrt.io.source import is_dicom, is_dicom_folder

    path = Path(what)
    holds = is_dicom_folder(path) if path.is_dir() else is_dicom(path)
    if holds and not is_bundle(path):
        return describe_dicom(path, series, every, force_units)
    if series or every:
        raise UsageError("--series and --all-series are for DICOM", "leave them out")
    volume = what.lower().endswith((".nii", ".nii.gz", ".hdr", ".img"))
    return describe_volume(path) if volume else describe_bundle(what)


def is_bundle(path: Path) -> bool:
    """Whether a folder or zip archive holds a model's manifest."""
    from petrt.model.bundle import MANIFEST

    if path.is_dir():
        return (path / MANIFEST).exists()
    try:
        with zipfile.ZipFile(path) as archive:
            return any(Path(name).name == MANIFEST for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def describe_dicom(
    path: Path, series: list[str] | None, every: bool, force_units: bool
) -> dict[str, Any] | list[dict[str, Any]]:
    """The volumes of the series that are asked for, or of the only one; else the list of all series."""
    from petrt.cli.find import each_series
    from petrt.io.dicom.series import series_uids

    if not (series or every):
        if len(series_uids(path)) > 1:
            return [catalogued(info) for info in dicom_series(path)]
        return describe_volume(path, force_units=force_units)
    _, uids = each_series([path], series, every)
    return [describe_volume(path, uid, force_units) for uid in uids]


def dicom_series(path: Path) -> list[SeriesInfo]:
    """All series in ``path``, PET first."""
    from petrt.io.dicom.series import inspect as catalogue

    return sorted(catalogue(path), key=lambda info: not info.pet)


def catalogued(info: SeriesInfo) -> dict[str, Any]:
    """What the list of series says of one: nothing about the patient."""
    facts = {"series": info.series_uid, "modality": info.modality, "pet": info.pet}
    facts |= {"columns": info.columns, "rows": info.rows, "slices": info.slices}
    return facts | {"frames": info.frames, "units": info.units, "manufacturer": info.manufacturer}


def describe_bundle(source: str) -> dict[str, Any]:
    """The model card, the bundle's identity and the content of ``model.json``."""
    from petrt.model.bundle import load_bundle

    bundle = load_bundle(source)
    manifest = bundle.manifest.model_dump(mode="json")
    card = manifest["model"].pop("card")
    return {"card": card} | {"identity": bundle.identity, **manifest}


def describe_volume(
    path: Path, series: str | None = None, force_units: bool = False
) -> dict[str, Any]:
    """Grid, header and range of a NIfTI file or a DICOM series. Raises InputError."""
    import nibabel
    import numpy as np

    from petrt.io import source
    from petrt.suv import display

    volume = source.read(path, series=series, force_units=force_units, nonfinite="zero")
    if volume.data.size == 0:
        raise InputError(f"{shown(path)} is empty")
    facts: dict[str, Any] = {"file": path.name, "format": volume.source}
    if volume.series is not None:
        fields = volume.series.frames[0][0].header
        facts |= {
            "series": volume.series.uid,
            "units": volume.series.units,
            "decay_correction": fields.text("DecayCorrection"),
            "suv": display(volume).reason or "can be formed",
        }
    else:
        codes = ("qform_code", "sform_code")
        facts |= {code: int(volume.header[code]) for code in codes}
    return facts | {
        "shape": list(volume.data.shape),
        "voxel_mm": [round(size, 4) for size in volume.voxel_mm],
        "orientation": "".join(nibabel.orientations.aff2axcodes(volume.affine)),
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
