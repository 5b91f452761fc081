"""Writes a map, such as of standard deviations, as a DICOM Parametric Map: float32, with its unit.

One multi-frame file (PS3.3 A.75), which analysis software reads; most viewers want a series instead.
"""

from __future__ import annotations

import importlib.util
import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from petrt.errors import DeviceError, InputError
from petrt.files.atomic import atomic_file
from petrt.hardware.packages import extra
from petrt.io.dicom.derivation import MAKER, NOTICE, Derivation, series_number
from petrt.io.dicom.header import quiet
from petrt.io.dicom.origin import PetSeries, source_series
from petrt.io.dicom.single_frame import Sources
from petrt.io.dicom.template import template

if TYPE_CHECKING:
    from pydicom import Dataset

    from petrt.arrays import Array
    from petrt.io.volume import Volume

# UCUM codes of the field Units (PS3.16 CID 84).
_UNITS = {
    "BQML": ("Bq/ml", "Becquerels/milliliter"),
    "GML": ("g/ml", "Standardized Uptake Value"),
    "CM2ML": ("cm2/ml", "Centimeter**2/milliliter"),
    "CNTS": ("{counts}", "Counts"),
    "CPS": ("{counts}/s", "Counts per second"),
}
_OTHER = ("{stored}", "unit of the source")
# Attributes of type 2, which a file must have and may leave empty (PS3.3 C.7.1.1, C.7.2.1).
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)


def check_installed() -> None:
    """Raise DeviceError, with the command that installs it, if highdicom is absent."""
    if importlib.util.find_spec("highdicom") is None:
        raise DeviceError(
            "a Parametric Map needs highdicom, which is not installed", extra("dicom")
        )


def write_map(
    path: str | os.PathLike[str],
    data: Array,
    like: Volume,
    derivation: Derivation,
    *,
    overwrite: bool = False,
) -> None:
    """Write ``data`` (the shape and unit of ``like``, which came from DICOM) as one file.

    The values are stored as they are, float32, and decay as in ``like``'s files. The same source, values
    and derivation give the same bytes. Raises InputError for a volume that is not from DICOM or has frames,
    and as writing a file does.
    """
    check_installed()
    series = source_series(like)
    if data.ndim != 3:
        raise InputError(
            "a Parametric Map of several times or gates is not written", "name a folder instead"
        )
    with quiet():
        stream = BytesIO()
        _map(data, like, series, derivation).save_as(stream, enforce_file_format=True)
    with atomic_file(Path(path), overwrite=overwrite) as handle:
        handle.write(stream.getbuffer())


def _map(data: Array, like: Volume, series: PetSeries, by: Derivation) -> Dataset:
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.coding import Code

    sources = Sources(series)
    spacing = float(np.linalg.norm(like.affine[:3, 2]))
    slices = [_source(sources, series, k, spacing) for k in range(data.shape[2])]
    factors = np.array([plane.factor for plane in series.frames[0]], np.float32)
    pixels = np.ascontiguousarray(data.transpose(2, 1, 0)) / factors[:, None, None]
    value, meaning = _UNITS.get(series.units, _OTHER)
    highest = float(pixels.max(initial=0.0))
    mapping = RealWorldValueMapping(
        lut_label=by.role,
        lut_explanation=f"{by.role} in {series.units}"[:64],
        unit=Code(value, "UCUM", meaning),
        value_range=(float(pixels.min(initial=0.0)), highest),
        slope=1.0,
        intercept=0.0,
    )
    result = ParametricMap(
        slices,
        pixels,
        series_instance_uid=by.uid(series.uid, "map"),
        series_number=max(1, series_number(slices[0])),
        sop_instance_uid=by.uid(series.uid, "map", "file"),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=by.model[:64],
        software_versions=by.version,
        device_serial_number=by.sha256[:64],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        window_center=highest / 2 or 0.5,
        window_width=highest or 1.0,
        content_label=by.role.upper(),
        content_description=NOTICE,
    )
    _as_of_the_source(result, slices[0])
    by.describe(result, 1)
    _name_dimensions(result, by.uid(series.uid, "map", "dimensions"))
    return result


def _source(sources: Sources, series: PetSeries, k: int, spacing: float) -> Dataset:
    """What highdicom reads of slice ``k``, ``spacing`` mm from its neighbours."""
    from pydicom.valuerep import DSfloat

    dataset = template(sources.fields(0, k), series.frames[0][k])
    plane: Any = series.frames[0][k]
    dataset.SOPInstanceUID = plane.header.text("SOPInstanceUID") or f"{series.uid}.{k + 1}"
    dataset.Rows, dataset.Columns = (
        int(plane.header.numbers(field)[0]) for field in ("Rows", "Columns")
    )
    for field in _MAY_BE_EMPTY:
        if field not in dataset:  # as an anonymiser leaves it
            setattr(dataset, field, "")
    if not dataset.get("SliceThickness"):  # of type 2, too, but in a Parametric Map of type 1
        dataset.SliceThickness = DSfloat(spacing, auto_format=True)
    return dataset


def _as_of_the_source(result: Dataset, source: Dataset) -> None:
    """The times of the scan for those of the writing, so that two runs give the same file; and the part of
    the body."""
    for part in ("Date", "Time"):
        series = source.get(f"Series{part}") or source.get(f"Study{part}") or ""
        setattr(result, f"Series{part}", series)
        setattr(result, f"Content{part}", source.get(f"Content{part}") or series)
    for field in ("InstanceCreationDate", "InstanceCreationTime"):
        if field in result:
            del result[field]
    for equipment in result.ContributingEquipmentSequence:
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime
    for field in ("BodyPartExamined", "Laterality", "SeriesDescription"):
        if field in source and field not in result:
            result[field] = source[field]


def _name_dimensions(result: Dataset, uid: str) -> None:
    """A UID that follows from the source for highdicom's, which is random."""
    for field in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in result.get(field) or []:
            item.DimensionOrganizationUID = uid
