"""petrt convert: a DICOM PET series as NIfTI, in the unit of its files or as SUV."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrt.cli.options import ForceUnits, MaxVoxels, Nonfinite, Overwrite, SeriesUids, Suv
from petrt.errors import InputError
from petrt.files.names import shown
from petrt.io.volume import MAX_VOXELS

if TYPE_CHECKING:
    from petrt.io.volume import Volume

logger = logging.getLogger("petrt")


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="SERIES", help="A DICOM PET series: its folder, DICOMDIR or .zip."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output, .nii or .nii.gz.")],
    suv: Suv = None,
    series: SeriesUids = None,
    force_units: ForceUnits = False,
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = MAX_VOXELS,
    overwrite: Overwrite = False,
) -> None:
    """Write a DICOM PET series as float32 NIfTI with a .json file beside it, without any network.

    Values stay in the unit of the files, or become SUV. A dynamic or gated series has four
    axes. The .json file holds unit, timing and dose, nothing about the patient. Not for
    diagnostic use.
    """
    from petrt.files.atomic import atomic_write_json, together
    from petrt.files.outputs import check_outputs
    from petrt.io import nifti
    from petrt.io.dicom.series import read
    from petrt.io.source import is_dicom

    nifti.check_nifti_name(out)
    if source.is_file() and not is_dicom(source):
        raise InputError(f"{shown(source)}: not a DICOM series", "give a folder, DICOMDIR or .zip")
    sidecar = beside(out)
    check_outputs([out, sidecar], [source] if source.is_file() else [], overwrite=overwrite)
    volume = read(
        source,
        series=series,
        force_units=force_units,
        max_voxels=max_voxels,
        nonfinite=nonfinite,  # type: ignore[arg-type]
    )
    converted, fields = _converted(volume, suv, force_units)
    with together():
        nifti.write(out, converted.data, volume, overwrite=overwrite)
        atomic_write_json(sidecar, fields, overwrite=overwrite)
    size = " x ".join(str(n) for n in converted.data.shape)
    logger.info("%s: %s voxels in %s, not for diagnostic use", shown(out), size, fields["Units"])


def beside(out: Path) -> Path:
    """The name of the .json file beside a NIfTI file."""
    lower = out.name.lower()
    end = ".nii.gz" if lower.endswith(".nii.gz") else ".nii"
    return out.with_name(f"{out.name[: -len(end)]}.json")


def _converted(volume: Volume, suv: str | None, force_units: bool) -> tuple[Volume, dict[str, Any]]:
    """The volume to write, and the content of the .json file."""
    from petrt import suv as uptake
    from petrt.io.dicom.describe import bids_fields

    assert volume.series is not None
    fields = bids_fields(volume.series) | {"Description": "petrt; not for diagnostic use"}
    if suv is None:
        return uptake.as_stored(volume), fields
    kind = uptake.check_kind(suv)
    fields |= {
        "Units": uptake.UNITS[kind].replace("ml", "mL").replace("²", "2"),
        "SUVType": kind.upper(),
    }
    # SUV refers to the whole dose, so its decay is corrected whatever the files say.
    for key in ("DecayCorrection", "ImageDecayCorrectionTime"):
        fields.pop(key, None)
    return uptake.volume(volume, kind, force_units=force_units), fields | {
        "ImageDecayCorrected": True
    }
