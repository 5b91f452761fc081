"""A derivative data set: names and sidecars of its images, its description and its README."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from petrt import __version__
from petrt.diffusion.strength import words
from petrt.errors import InputError, UsageError
from petrt.files.atomic import atomic_write_bytes, atomic_write_json
from petrt.files.names import shown
from petrt.io.bids.layout import DESCRIPTION, Dataset, PetFile, read_json

BIDS_VERSION = "1.11.1"
NAME = "petrt"
NOTICE = "not for diagnostic use"
IMAGE, UNCERTAINTY, COARSE = "denoised", "uncertainty", "coarse"
_DRAWN = ("seed", "samples", "sampler", "strength")
# The name of the source data set in BIDS URIs.
_RAW = "raw"
# The PET fields of the specification that hold for an image of the same scan, frames, grid and unit.
# Others stay behind: ScaleFactor is of the stored values, ScanDate and what converters add may identify.
FIELDS = (
    *("Units", "Manufacturer", "ManufacturersModelName", "BodyPart", "BodyPartDetails"),
    *("BodyPartDetailsOntology", "InstitutionName", "InstitutionAddress"),
    "InstitutionalDepartmentName",
    *("TracerName", "TracerRadionuclide", "InjectedRadioactivity", "InjectedRadioactivityUnits"),
    *("InjectedMass", "InjectedMassUnits", "SpecificRadioactivity", "SpecificRadioactivityUnits"),
    *("ModeOfAdministration", "TracerRadLex", "TracerSNOMED", "TracerMolecularWeight"),
    *("TracerMolecularWeightUnits", "InjectedMassPerWeight", "InjectedMassPerWeightUnits"),
    *("SpecificRadioactivityMeasTime", "MolarActivity", "MolarActivityUnits"),
    *("MolarActivityMeasTime", "InfusionRadioactivity", "InfusionStart", "InfusionSpeed"),
    *("InfusionSpeedUnits", "InjectedVolume", "Purity"),
    *("PharmaceuticalName", "PharmaceuticalDoseAmount", "PharmaceuticalDoseUnits"),
    *("PharmaceuticalDoseRegimen", "PharmaceuticalDoseTime", "Anaesthesia"),
    *(
        "TimeZero",
        "ScanStart",
        "InjectionStart",
        "InjectionEnd",
        "FrameTimesStart",
        "FrameDuration",
    ),
    *("AcquisitionMode", "ImageDecayCorrected", "ImageDecayCorrectionTime", "ReconMethodName"),
    *("ReconMethodParameterLabels", "ReconMethodParameterUnits", "ReconMethodParameterValues"),
    *("ReconFilterType", "ReconFilterSize", "AttenuationCorrection"),
    *("ReconMethodImplementationVersion", "AttenuationCorrectionMethodReference"),
    *("ScatterFraction", "DecayCorrectionFactor", "DoseCalibrationFactor"),
    *("PromptRate", "SinglesRate", "RandomRate"),
    *("TaskName", "Instructions", "TaskDescription", "CogAtlasID", "CogPOID"),
)
_README = """\
# PET images of standard-dose quality, by petrt

Not for diagnostic use.

Every `*_desc-denoised_pet.nii.gz` is an estimate of the standard-dose image, made by petrt from the low-dose
PET file that `Sources` in the .json file beside it names. Grid, frames and unit are those of that file.
`*_desc-uncertainty_pet.nii.gz`, where it was asked for, is the standard deviation of its samples in the same
unit; `Description` says whether it is calibrated. The entry `petrt` of the .json file records model, dose,
options, warnings and the change of the total activity and of the maximum, frame by frame.

`*_desc-coarse_pet.nii.gz`, where it was asked for, is what the model predicts before it draws samples.

`petrt bids IN OUT group` gathers these numbers in `group_pet.tsv`.
"""


def image_path(file: PetFile, out: Path, description: str) -> Path:
    """Where the derivative ``description`` of a PET file goes in the data set ``out``."""
    folder = file.path.parent.relative_to(file.dataset.root)
    return out / folder / f"{file.stem}_desc-{description}_pet.nii.gz"


def sidecar_of(image: Path) -> Path:
    """The .json file beside a .nii.gz file."""
    return image.with_name(f"{image.name.removesuffix('.nii.gz')}.json")


def image_sidecar(
    file: PetFile, content: Mapping[str, Any], record: Mapping[str, Any], key: str
) -> dict[str, Any]:
    """The sidecar of an image: ``content`` is the source's metadata, ``record`` that of the run
    (petrt.inference.run_record), ``key`` what tells whether the image is up to date."""
    text = (
        f"Estimate of the standard-dose PET image from a low-dose one, by the model "
        f"{record['model']['name']} of petrt {record['petrt']}{_strength(record)}; {record['label']}"
    )
    return _sidecar(file, content, text) | {"petrt": dict(record), "key": key}


def uncertainty_sidecar(
    file: PetFile, content: Mapping[str, Any], record: Mapping[str, Any], key: str
) -> dict[str, Any]:
    """The sidecar of an uncertainty map; arguments as for ``image_sidecar``."""
    std = record["std"]
    kind = "calibrated" if std["calibrated"] else "not calibrated"
    text = (
        f"Standard deviation of the {record['samples']} samples whose mean is the image "
        f"desc-{IMAGE}{_strength(record)}, {kind}: {std['reason']}; {record['label']}"
    )
    return _sidecar(file, content, text) | {"petrt": _own(record, *_DRAWN, "std"), "key": key}


def coarse_sidecar(
    file: PetFile, content: Mapping[str, Any], record: Mapping[str, Any], key: str
) -> dict[str, Any]:
    """The sidecar of a coarse prediction; arguments as for ``image_sidecar``."""
    text = (
        f"Coarse prediction of the standard-dose PET image, before any sample, by the model "
        f"{record['model']['name']} of petrt {record['petrt']}; {record['label']}"
    )
    return _sidecar(file, content, text) | {"petrt": _own(record), "key": key}


def check_place(dataset: Dataset, out: Path) -> None:
    """Raise UsageError if ``out`` is no place for derivatives of ``dataset``: inputs stay untouched, and a
    derivative data set of something else does, too."""
    root, real = Path(os.path.realpath(dataset.root)), Path(os.path.realpath(out))
    if real == root or (root in real.parents and root / "derivatives" not in real.parents):
        hint = f"name another folder, or {shown(dataset.root)}/derivatives/{NAME}"
        raise UsageError("the output folder lies in the input data set", hint)
    if os.path.lexists(out) and not out.is_dir():
        raise UsageError(f"{shown(out)}: the output is no folder", "name a folder")
    if not os.path.lexists(out / DESCRIPTION):
        return
    try:
        there = read_json(out / DESCRIPTION)
    except InputError:
        there = {}
    if not _is_ours(there):
        raise UsageError(
            f"{shown(out)}: holds a data set that petrt did not make", "choose another folder"
        )
    if there.get("DatasetLinks") != {_RAW: _link(dataset, out)}:
        raise UsageError(
            f"{shown(out)}: holds results of another data set, or of one in another place",
            "choose another folder",
        )


def write_description(dataset: Dataset, out: Path) -> None:
    """Write the description and the README of the derivative data set ``out``, an existing folder that
    ``check_place`` accepts. Several processes may do that at once. A README that exists is kept."""
    content = _description(dataset, out)
    path = out / DESCRIPTION
    if not path.is_file() or read_json(path) != content:
        atomic_write_json(path, content, overwrite=True)
    if not any(out.glob("README*")):
        atomic_write_bytes(out / "README.md", _README.encode("ascii"), overwrite=True)


def _description(dataset: Dataset, out: Path) -> dict[str, Any]:
    given = dataset.description
    name = given.get("Name") if isinstance(given.get("Name"), str) else "a PET data set"
    content: dict[str, Any] = {
        "Name": f"Standard-dose estimates by petrt of: {name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": NAME,
                "Version": __version__,
                "Description": f"Low-dose PET to standard-dose quality; {NOTICE}",
            }
        ],
        "DatasetLinks": {_RAW: _link(dataset, out)},
        "SourceDatasets": [{"URL": _link(dataset, out)}],
    }
    if isinstance(doi := given.get("DatasetDOI"), str):
        content["SourceDatasets"][0]["DOI"] = doi
    content |= {key: given[key] for key in ("License", "Authors") if key in given}
    return content


def _own(record: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """What the sidecar of a second image keeps of the record of its run."""
    names = ("label", "petrt", "model", "dose_fraction", *more)
    return {name: record[name] for name in names}


def _strength(record: Mapping[str, Any]) -> str:
    """What a strength below 1 says of an image."""
    return "".join(f", {each}" for each in words(record["strength"]))


def _is_ours(description: Mapping[str, Any]) -> bool:
    makers = description.get("GeneratedBy")
    return isinstance(makers, list) and any(
        isinstance(each, dict) and each.get("Name") == NAME for each in makers
    )


def _link(dataset: Dataset, out: Path) -> str:
    """The source's place relative to ``out``, so that both can be moved together."""
    relative = os.path.relpath(os.path.realpath(dataset.root), os.path.realpath(out))
    return quote(Path(relative).as_posix())


def _sidecar(file: PetFile, content: Mapping[str, Any], text: str) -> dict[str, Any]:
    source = f"bids:{_RAW}:{file.within}"
    notice = "" if NOTICE in text else f"; {NOTICE}"
    return {
        "Description": f"{text}{notice}",
        "Sources": [source],
        "SpatialReference": source,
        "SkullStripped": content.get("SkullStripped") is True,
        **{key: content[key] for key in FIELDS if key in content},
    }
