"""petrt inspect: describes a model or a volume."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from petrt.cli.choices import shipped
from petrt.cli.options import AllSeries, ForceUnits, SeriesUids
from petrt.cli.output import Output, add_row, cell, print_json
from petrt.errors import InputError, UsageError
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.io.dicom.series import SeriesInfo
    from petrt.model.bundle import Bundle

WIDEST_NAME = 30


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FILE",
            help="A bundle, a NIfTI file, or a DICOM folder, file, DICOMDIR or zip.",
            autocompletion=shipped,
        ),
    ],
    series: SeriesUids = None,
    all_series: AllSeries = False,
    force_units: ForceUnits = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Of a bundle, all of its model.json.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: all of it.")] = False,
) -> None:
    """Show the card of a model, or a volume's grid and values.

    Of a DICOM input with several PET series, and no choice, the list of its series.
    """
    path = Path(what)
    if not is_volume(path):
        if series or all_series:
            raise UsageError("--series and --all-series are for DICOM", "leave them out")
        show_bundle(what, everything, as_json)
        return
    facts = describe(path, series, all_series, force_units)
    if as_json:
        print_json(facts)
        return
    for each in facts if isinstance(facts, list) else [facts]:
        show(each)


def show_bundle(source: str, everything: bool, as_json: bool) -> None:
    """Print the card of a bundle, or ``everything``."""
    from petrt.cli.model_card import show_card
    from petrt.model.bundle import load_bundle

    bundle = load_bundle(source)
    if as_json:
        print_json(describe_bundle(bundle))
    elif everything:
        show(describe_bundle(bundle))
    else:
        show_card(bundle, source)


def show(facts: dict[str, Any]) -> None:
    """Print facts as a table, or, where their names take most of a line, one after the other."""
    rows, console = flatten(facts), Output()
    if max(len(key) for key, _ in rows) > WIDEST_NAME:
        for key, value in rows:
            console.print(cell(f"{key}: {value}"))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows:
        add_row(table, key, value)
    console.print(table)


def is_volume(path: Path) -> bool:
    """Whether this is, or is named as, a volume and no bundle."""
    from petrt.io.source import is_dicom, is_dicom_folder

    if path.name.lower().endswith((".nii", ".nii.gz", ".hdr", ".img")):
        return True
    holds = is_dicom_folder(path) if path.is_dir() else is_dicom(path)
    return holds and not is_bundle(path)


def describe(
    path: Path, series: list[str] | None, every: bool, force_units: bool
) -> dict[str, Any] | list[dict[str, Any]]:
    """The facts of a volume; of DICOM those of all series, or of all that are asked for."""
    from petrt.io.source import is_dicom, is_dicom_folder

    if is_dicom_folder(path) if path.is_dir() else is_dicom(path):
        return describe_dicom(path, series, every, force_units)
    if series or every:
        raise UsageError("--series and --all-series are for DICOM", "leave them out")
    return describe_volume(path)


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


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """The model card, the bundle's identity and the content of ``model.json``."""
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
