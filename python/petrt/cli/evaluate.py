"""petrt evaluate: compares a volume with a reference under named protocols."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import petrt
from petrt import suv as uptake
from petrt.cli.choices import OneOf
from petrt.cli.command import asked
from petrt.cli.evaluate_tables import Frame, print_frame, rules_of
from petrt.cli.evaluate_volumes import Reading, Turned, check_same_grid, common_unit, in_suv, read
from petrt.cli.options import (
    OUTPUTS,
    ForceUnits,
    MaxVoxels,
    Nonfinite,
    Overwrite,
    SeriesUids,
    Suv,
    above_zero,
)
from petrt.cli.output import STDOUT, Output, cell, files, not_stdout, write_json
from petrt.data.prepare.metadata import read_metadata
from petrt.errors import InputError, UsageError
from petrt.evaluation.activity import change, roi_statistics
from petrt.evaluation.metrics import PROTOCOLS, json_number
from petrt.evaluation.metrics import evaluate as compare
from petrt.evaluation.organs import organ_errors, parse_names
from petrt.files.atomic import atomic_write_bytes, together
from petrt.files.names import shown
from petrt.files.outputs import check_outputs
from petrt.io import source
from petrt.io.volume import MAX_VOXELS


def evaluate(
    prediction: Annotated[
        Path, typer.Argument(metavar="PRED", help="Volume to evaluate (NIfTI or DICOM).")
    ],
    reference: Annotated[
        Path, typer.Argument(metavar="REF", help="Full-dose reference on the same grid.")
    ],
    protocol: Annotated[
        list[str] | None, typer.Option(help="Repeat for more. Default: all."), OneOf(*PROTOCOLS)
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
        Path | None,
        typer.Option(
            "--json", help="Write all numbers here; - is stdout.", rich_help_panel=OUTPUTS
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with planes and plots here (.html).", rich_help_panel=OUTPUTS
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare PRED with REF: PSNR, SSIM, NMSE and NRMSE by protocol, activity, regions."""
    options = asked(evaluate, locals(), _NOT_OF_NUMBERS)
    paths = {"prediction": prediction, "reference": reference, "mask": mask, "labels": labels}
    inputs = {role: path for role, path in paths.items() if path is not None}
    not_stdout(report=report)
    check_outputs(files(json_file, report), inputs.values(), overwrite=overwrite)
    if background is not None and labels is None:
        raise UsageError("--background needs --labels")
    if names is not None and labels is None:
        raise UsageError("--names needs --labels")
    if metadata is not None and suv is not None:
        raise UsageError("both --suv and --metadata are given", "--suv is for DICOM series")
    called = None if names is None else parse_names(names)
    let_in = Reading(series, force_units, nonfinite, max_voxels)
    kind = None if suv is None else uptake.check_kind(suv)
    volumes = {
        role: read(path, let_in, None if role in _STATIC else kind) for role, path in inputs.items()
    }
    if metadata is not None:
        volumes |= in_suv(volumes, read_metadata(metadata), prediction)
    unit = common_unit(volumes["prediction"], volumes["reference"])
    for role in volumes:
        check_same_grid(volumes[role], volumes["reference"], may_be_static=role in _STATIC)
    frames = [
        _frame(frame, volumes["reference"].voxel_mm, protocol, scale, background, called)
        for frame in _by_frame(volumes)
    ]
    record = _record(inputs, series, frames) | {"unit": unit or None}
    with together():
        write_json(json_file, record, overwrite=overwrite)
        if report is not None:
            from petrt.evaluation.report.made import command_line

            page = _page(volumes, unit, record, command_line("petrt evaluate PRED REF", options))
            atomic_write_bytes(report, page.encode(), overwrite=overwrite)
    console = Output(err=json_file == STDOUT)
    in_unit = f", in {unit}" if unit else ""
    console.print(cell(f"{shown(prediction)} against {shown(reference)}{in_unit}"))
    for number, frame in enumerate(frames, start=1):
        if len(frames) > 1:
            console.print(f"frame {number} of {len(frames)}")
        print_frame(console, frame)
    console.print(rules_of(list(frames[0].metrics)))


_STATIC = ("mask", "labels")
_NOT_OF_NUMBERS = ("json_file", "report", "overwrite")  # options that change none


def _page(volumes: dict[str, Turned], unit: str, record: dict[str, Any], command: str) -> str:
    """The page: planes of the first frame, the prediction beside the reference, and the numbers of all."""
    from petrt.evaluation.report.case import Case
    from petrt.evaluation.report.page import case_page
    from petrt.evaluation.report.reference import frames_card

    count, chosen = len(volumes["reference"].frames), next(_by_frame(volumes))
    return case_page(
        Case(
            chosen["reference"],
            chosen["prediction"],
            volumes["reference"].affine,
            unit,
            reference=chosen["reference"],
            labels=chosen.get("labels"),
            record={
                "petrt": record["petrt"],
                "hashes": {role: each["sha256"] for role, each in record["inputs"].items()},
            },
            frame=f"frame 1 of {count}" if count > 1 else "",
            base="reference",
        ),
        command=command,
        more=frames_card(record["frames"]) if count > 1 else None,
    )


def _by_frame(volumes: dict[str, Turned]) -> Iterator[dict[str, NDArray[np.float32]]]:
    for t in range(len(volumes["reference"].frames)):
        yield {role: v.frames[min(t, len(v.frames) - 1)] for role, v in volumes.items()}


def _frame(
    volumes: dict[str, NDArray[np.float32]],
    voxel_mm: tuple[float, float, float],
    protocols: list[str] | None,
    scale: float | None,
    background: int | None,
    names: dict[int, str] | None,
) -> Frame:
    pred, ref, labels = volumes["prediction"], volumes["reference"], volumes.get("labels")
    rois = None
    if labels is not None:
        rois = roi_statistics(pred, labels, reference=ref, voxel_mm=voxel_mm, background=background)
    return Frame(
        compare(pred, ref, protocols=protocols or None, mask=volumes.get("mask"), scale=scale),
        float(ref.max()) if scale is None else scale,
        change(pred, ref),
        rois,
        None if rois is None or names is None else organ_errors(rois, names),
    )


def _record(
    inputs: dict[str, Path], series: list[str] | None, frames: list[Frame]
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
