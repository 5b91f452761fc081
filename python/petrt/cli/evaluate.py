"""petrt evaluate: compares a volume with a reference under named protocols."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

import petrt
from petrt import suv as uptake
from petrt.cli.options import ForceUnits, MaxVoxels, Nonfinite, SeriesUids, Suv, above_zero
from petrt.cli.output import STDOUT, Output, cell, files, write_json
from petrt.data.prepare.metadata import Metadata, read_metadata, stem
from petrt.errors import InputError, UsageError, way
from petrt.evaluation.activity import Change, RoiStatistics, change, roi_statistics
from petrt.evaluation.metrics import PROTOCOLS, WINDOWS, json_number
from petrt.evaluation.metrics import evaluate as compare
from petrt.evaluation.organs import OrganError, organ_errors, parse_names
from petrt.files.atomic import check_outputs
from petrt.files.names import shown
from petrt.io import source
from petrt.io.volume import MAX_VOXELS

# Largest distance in voxels between the corners of two equal grids, since headers round.
GRID_TOLERANCE = 0.01
METRICS = {"psnr": ("PSNR (dB)", ".2f"), "ssim": ("SSIM", ".4f")} | {
    name: (name.upper(), ".5f") for name in ("nmse", "nrmse")
}


def evaluate(
    prediction: Annotated[
        Path, typer.Argument(metavar="PRED", help="Volume to evaluate (NIfTI or DICOM).")
    ],
    reference: Annotated[
        Path, typer.Argument(metavar="REF", help="Full-dose reference on the same grid.")
    ],
    protocol: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(PROTOCOLS)}; repeat for more. Default: all."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="Mask for 'standard', non-zero inside. Default: REF > 5 % of its maximum."
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label map: statistics of each region; 0 is left out.")
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help="Names of the labels, 1=liver,2=heart, or 'challenge' for its organs: errors of SUVmean "
            "and SUVmax as the challenge counts them."
        ),
    ] = None,
    background: Annotated[
        int | None, typer.Option(help="Background label for contrast recovery (CRC) and CNR.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            callback=above_zero(InputError),
            help="Divides both volumes, for 'paper' and 'inference'. Default: the maximum of REF.",
        ),
    ] = None,
    suv: Suv = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="The challenge's table of NIfTI files: both volumes in SUV, by PRED's name."
        ),
    ] = None,
    series: SeriesUids = None,
    force_units: ForceUnits = False,
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = MAX_VOXELS,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all numbers here; - is stdout.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the JSON file.")] = False,
) -> None:
    """Compare PRED with REF: PSNR, SSIM, NMSE and NRMSE by protocol, activity, regions."""
    paths = {"prediction": prediction, "reference": reference, "mask": mask, "labels": labels}
    inputs = {role: path for role, path in paths.items() if path is not None}
    check_outputs(files(json_file), inputs.values(), overwrite=overwrite)
    if background is not None and labels is None:
        raise UsageError("--background needs --labels")
    if names is not None and labels is None:
        raise UsageError("--names needs --labels")
    if metadata is not None and suv is not None:
        raise UsageError("both --suv and --metadata are given", "--suv is for DICOM series")
    called = None if names is None else parse_names(names)
    if nonfinite not in ("refuse", "zero"):
        raise UsageError(f"--nonfinite is '{nonfinite}'", "choose refuse or zero")
    let_in = _Reading(series, force_units, nonfinite, max_voxels)
    kind = None if suv is None else uptake.check_kind(suv)
    volumes = {
        role: _read(path, let_in, None if role in _STATIC else kind)
        for role, path in inputs.items()
    }
    if metadata is not None:
        volumes |= _in_suv(volumes, read_metadata(metadata), prediction)
    unit = _common_unit(volumes["prediction"], volumes["reference"])
    for role in volumes:
        _check_same_grid(volumes[role], volumes["reference"], may_be_static=role in _STATIC)
    frames = [
        _frame(frame, volumes["reference"].voxel_mm, protocol, scale, background, called)
        for frame in _by_frame(volumes)
    ]
    record = _record(inputs, series, frames) | {"unit": unit or None}
    write_json(json_file, record, overwrite=overwrite)
    console = Output(80, err=json_file == STDOUT)
    in_unit = f", in {unit}" if unit else ""
    console.print(cell(f"{shown(prediction)} against {shown(reference)}{in_unit}"))
    for number, frame in enumerate(frames, start=1):
        if len(frames) > 1:
            console.print(f"frame {number} of {len(frames)}")
        _print_frame(console, frame)
    console.print(_rules(list(frames[0].metrics)))


_STATIC = ("mask", "labels")


@dataclass(frozen=True)
class _Turned:
    """A file's frames [T, X, Y, Z], axes permuted and flipped to x right, y front, z up; affine in mm."""

    name: str
    frames: NDArray[np.float32]
    affine: NDArray[np.float64]
    units: str = ""

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def grid(self) -> str:
        sizes = "x".join(f"{mm:.4g}" for mm in self.voxel_mm)
        origin = ", ".join(f"{mm:.4g}" for mm in self.affine[:3, 3])
        shape = "x".join(str(n) for n in self.frames.shape[1:])
        return f"{shape} voxels of {sizes} mm from ({origin}), frames: {len(self.frames)}"


@dataclass(frozen=True)
class _Reading:
    """What is let in, and the series that are meant where a DICOM input has several."""

    series: list[str] | None
    force_units: bool
    nonfinite: Any
    max_voxels: int


def _read(path: Path, let_in: _Reading, suv: uptake.Kind | None) -> _Turned:
    """Read a volume in canonical orientation, so files that differ only in storage order agree.

    Raises InputError for one whose SUV, of kind ``suv``, cannot be formed.
    """
    volume = source.read(
        path,
        series=source.among_several(path, let_in.series),
        force_units=let_in.force_units,
        max_voxels=let_in.max_voxels,
        nonfinite=let_in.nonfinite,
    )
    unit = uptake.stored_unit(volume)
    if suv is not None and volume.series is None:
        raise InputError(
            f"{shown(path)}: no SUV: not DICOM, so weight and dose are unknown",
            "give DICOM series, or leave out --suv",
        )
    if suv is not None:
        unit = uptake.unit_name(suv)
        volume = uptake.volume(volume, suv, force_units=let_in.force_units)
    orientation = io_orientation(volume.affine_mm)
    shape = volume.data.shape[:3]
    data = apply_orientation(volume.data.reshape(*shape, -1), orientation)
    return _Turned(
        shown(path),
        np.moveaxis(np.asarray(data), 3, 0),
        volume.affine_mm @ inv_ornt_aff(orientation, shape),
        unit,
    )


def _in_suv(
    volumes: dict[str, _Turned], rows: dict[str, Metadata], prediction: Path
) -> dict[str, _Turned]:
    """Prediction and reference in SUV (body weight). Raises InputError without a row of the prediction."""
    if (row := rows.get(stem(prediction.name))) is None:
        raise InputError(
            f"the table has no row of {shown(prediction)}",
            "predictions have the names of the challenge's inputs",
        )
    return {
        role: replace(
            volumes[role],
            frames=volumes[role].frames * np.float32(row.suv_factor),
            units=uptake.unit_name("bw"),
        )
        for role in ("prediction", "reference")
    }


def _common_unit(prediction: _Turned, reference: _Turned) -> str:
    """The unit of both; "" if neither states one. Raises InputError for two different units."""
    if prediction.units and reference.units and prediction.units != reference.units:
        raise InputError(
            f"{prediction.name} is in {prediction.units}, {reference.name} in {reference.units}",
            way("suv", "bw", "compares DICOM series in SUV"),
        )
    return prediction.units or reference.units


def _check_same_grid(volume: _Turned, reference: _Turned, *, may_be_static: bool) -> None:
    """Raise InputError unless both have the same grid and the same number of frames."""
    frames = {len(reference.frames), 1} if may_be_static else {len(reference.frames)}
    same = volume.frames.shape[1:] == reference.frames.shape[1:] and len(volume.frames) in frames
    if same:
        last = np.array(reference.frames.shape[1:]) - 1
        corners = np.array([(x, y, z, 1) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
        corners[:, :3] *= last
        apart = np.abs(corners @ (volume.affine - reference.affine).T).max()
        same = apart <= GRID_TOLERANCE * min(reference.voxel_mm)
    if not same:
        raise InputError(
            f"the grids differ: {volume.name} has {volume.grid}; "
            f"{reference.name} has {reference.grid}",
            "resample one onto the other",
        )


def _by_frame(volumes: dict[str, _Turned]) -> Iterator[dict[str, NDArray[np.float32]]]:
    for t in range(len(volumes["reference"].frames)):
        yield {role: v.frames[min(t, len(v.frames) - 1)] for role, v in volumes.items()}


@dataclass(frozen=True)
class _Frame:
    """All results of one frame; ``rois`` is None without labels, ``organs`` without their names."""

    metrics: dict[str, dict[str, float]]
    scale: float
    change: Change
    rois: list[RoiStatistics] | None
    organs: list[OrganError] | None = None


def _frame(
    volumes: dict[str, NDArray[np.float32]],
    voxel_mm: tuple[float, float, float],
    protocols: list[str] | None,
    scale: float | None,
    background: int | None,
    names: dict[int, str] | None,
) -> _Frame:
    pred, ref, labels = volumes["prediction"], volumes["reference"], volumes.get("labels")
    rois = None
    if labels is not None:
        rois = roi_statistics(pred, labels, reference=ref, voxel_mm=voxel_mm, background=background)
    return _Frame(
        compare(pred, ref, protocols=protocols or None, mask=volumes.get("mask"), scale=scale),
        float(ref.max()) if scale is None else scale,
        change(pred, ref),
        rois,
        None if rois is None or names is None else organ_errors(rois, names),
    )


def _record(
    inputs: dict[str, Path], series: list[str] | None, frames: list[_Frame]
) -> dict[str, Any]:
    """The content of the JSON file. null means infinity (equal volumes) or undefined."""
    return {
        "petrt": petrt.__version__,
        "inputs": {
            role: {"name": shown(p), "sha256": _sha256(p, series)} for role, p in inputs.items()
        },
        "protocols": {
            name: {
                key: value
                for key, value in asdict(PROTOCOLS[name]).items()
                if isinstance(value, str)
            }
            for name in frames[0].metrics
        },
        "frames": [
            {
                "metrics": {
                    name: {key: json_number(value) for key, value in numbers.items()}
                    for name, numbers in frame.metrics.items()
                },
                "scale": frame.scale,
                **asdict(frame.change),
                "rois": None if frame.rois is None else [asdict(roi) for roi in frame.rois],
                **({} if frame.organs is None else {"organs": [asdict(o) for o in frame.organs]}),
            }
            for frame in frames
        ],
    }


def _sha256(path: Path, series: list[str] | None) -> str:
    return source.sha256(path, source.among_several(path, series))


def _print_frame(console: Console, frame: _Frame) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in frame.metrics:
        table.add_column(name, justify="right")
    for key, (label, form) in METRICS.items():
        numbers = (m[key] for m in frame.metrics.values())
        table.add_row(label, *("-" if math.isnan(n) else format(n, form) for n in numbers))
    console.print(table)
    if undefined := [name for name, m in frame.metrics.items() if math.isnan(m["ssim"])]:
        console.print(
            f"SSIM of {' and '.join(undefined)} undefined: an axis is shorter than its window "
            f"({', '.join(str(WINDOWS[name]) for name in undefined)} voxels)",
            highlight=False,
        )
    if set(frame.metrics) - {"standard"}:
        console.print(f"scale of paper and inference: {frame.scale:.6g}", highlight=False)
    console.print(
        f"against the reference: activity ratio {_number(frame.change.activity_ratio, '.4f')}, "
        f"SUVmax shift {_number(frame.change.suvmax_shift_percent, '+.2f')} %",
        highlight=False,
    )
    if frame.rois is not None:
        console.print(_roi_table(frame.rois))
    if frame.organs is not None:
        console.print(_organ_table(frame.organs))


def _rules(protocols: list[str]) -> Table:
    """A table with the definition of each protocol, printed below the results."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), style="dim")
    for name in protocols:
        rules = PROTOCOLS[name]
        text = f"mask {rules.mask}; PSNR {rules.psnr}; SSIM {rules.ssim}; NMSE {rules.nmse}"
        table.add_row(f"{name}:", text)
    return table


def _roi_table(rois: list[RoiStatistics]) -> Table:
    columns = {
        "ml": ("volume_ml", ".4g"),
        "mean": ("mean", ""),
        "max": ("max", ""),
        "peak": ("peak", ""),
        "mean\nbias %": ("mean_bias_percent", "+.1f"),
        "max\nbias %": ("max_bias_percent", "+.1f"),
        "peak\nbias %": ("peak_bias_percent", "+.1f"),
        "COV": ("cov", ".2f"),
        "CNR": ("cnr", ".2f"),
        "CRC": ("contrast_recovery", ".2f"),
    }
    if all(roi.cnr is None for roi in rois):
        del columns["CNR"], columns["CRC"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("label", *columns):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for roi in rois:
        cells = (_number(getattr(roi, key), form) for key, form in columns.values())
        table.add_row(str(roi.label), *cells)
    return table


def _organ_table(organs: list[OrganError]) -> Table:
    """The challenge's errors, absolute and in per cent."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("organ", vertical="bottom")
    for heading in ("SUVmean", "SUVmax", "SUVmean\nerror %", "SUVmax\nerror %"):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for organ in organs:
        errors = (organ.suvmean_error_percent, organ.suvmax_error_percent)
        values = [_number(value, "") for value in (organ.suvmean, organ.suvmax)]
        table.add_row(organ.name, *values, *(_number(error, ".2f") for error in errors))
    return table


def _number(value: float | None, form: str) -> str:
    """``value`` in ``form``, or with at least four digits and no exponent in usual units."""
    if value is None:
        return "-"
    return format(value, form or (".0f" if 1e3 <= abs(value) < 1e7 else ".4g"))
