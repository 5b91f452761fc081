"""petrt prepare: makes a data set for training from scans at full and reduced dose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich import box
from rich.table import Table

from petrt.cli.choices import OneOf
from petrt.cli.options import ForceUnits, MaxVoxels, Nonfinite, SeriesUids
from petrt.cli.output import Output, add_row, not_stdout, say
from petrt.data.prepare.sources import LAYOUTS
from petrt.errors import PartialFailure, UsageError
from petrt.model.spec import ScaleRule
from petrt.values import MOST_WORKERS, sizes


def prepare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...", help="Folder of scans, or a CSV of pairs; several may be given."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the data set.")],
    layout: Annotated[
        str,
        typer.Option(metavar="LAYOUT", help=f"{', '.join(LAYOUTS)}; see above."),
        OneOf(*LAYOUTS),
    ] = "auto",
    voxel_mm: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            metavar="X Y Z", help="Voxel size of the model grid. Default: the first subject's."
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Type of the stored values."), OneOf("float16", "float32")
    ] = "float16",
    scale: Annotated[
        str,
        typer.Option(metavar="RULE", help="Scale of a volume: smoothed-hottest or maximum."),
        OneOf("smoothed-hottest", "maximum"),
    ] = "smoothed-hottest",
    split: Annotated[
        str | None,
        typer.Option(help="Shares of train, validation and test patients. Default: 0.8,0.1,0.1."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    split_file: Annotated[
        Path | None, typer.Option(help="CSV 'subject,split' instead of --split.")
    ] = None,
    doses: Annotated[
        str | None, typer.Option(help="Only these dose reductions, as in 100,20. Default: all.")
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            help="Keep x0:x1,y0:y1,z0:z1 (voxels to the right, front, up; slices as in Python)."
        ),
    ] = None,
    series: SeriesUids = None,
    force_units: ForceUnits = False,
    any_frame: Annotated[
        bool,
        typer.Option(
            "--any-frame",
            help="Pair DICOM series whose frames of reference differ, as an anonymiser may leave them.",
        ),
    ] = False,
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="The challenge's table of NIfTI files: weight, activity, time, half-life."
        ),
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="Text file: names of subjects or files to leave out.")
    ] = None,
    keep_known: Annotated[
        bool,
        typer.Option(
            "--keep-known", help="Keep the challenge's known mislabelled and corrupt cases."
        ),
    ] = False,
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = 1 << 29,
    workers: Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Processes.")] = 1,
    strict: Annotated[
        bool, typer.Option("--strict", help="Write nothing if any pair is refused.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the data set.")] = False,
) -> None:
    """Check pairs of full- and low-dose scans, resample them to the model grid, and split them by patient.

    SOURCE has one of these layouts:

    challenge: a folder per subject, with a folder or NIfTI file for each dose,
    named like Full_dose, NORMAL, 1-10 dose, D10, DRF_10.

    bids: pet/*_pet.nii.gz of each subject or session, with rec-full, rec-1to100
    (or desc-).

    csv: a table with the columns subject, low, full, dose; also split, patient.

    simulated: what petrt simulate writes.
    """
    not_stdout(out=out)
    from petrt.cli.progress import bar
    from petrt.data.prepare import Options
    from petrt.data.prepare import prepare as run
    from petrt.data.prepare.crop import parse_box
    from petrt.data.prepare.scan import Reading
    from petrt.data.prepare.splits import parse_fractions

    options = Options(
        layout=cast(Any, layout),
        voxel_mm=None if voxel_mm is None else sizes("--voxel-mm", voxel_mm),
        dtype=cast(Any, dtype),
        rule=ScaleRule(kind=cast(Any, scale)),
        split=None if split is None else parse_fractions(split),
        seed=seed,
        split_file=split_file,
        doses=None if doses is None else _doses(doses),
        crop=None if crop is None else parse_box(crop),
        reading=Reading(
            force_units=force_units,
            nonfinite=cast(Any, nonfinite),
            max_voxels=max_voxels,
            any_frame=any_frame,
            series=tuple(series or ()),
        ),
        workers=workers,
        strict=strict,
        overwrite=overwrite,
        exclude=exclude,
        keep_known=keep_known,
        metadata=metadata,
    )
    with bar("preparing", "subjects") as progress:
        report = run(sources, out, options, progress)
    _print(report)
    say(out)
    if refused := report.refused:
        raise PartialFailure(
            f"{len(refused)} refused, {len(report.index.subjects)} subjects are in the data set",
            "summary.html there lists the reasons",
        )


def _doses(text: str) -> tuple[int, ...]:
    try:
        doses = tuple(int(part) for part in text.split(","))
    except ValueError:
        doses = ()
    if not doses or min(doses) < 2:
        raise UsageError(f"--doses is '{text}'", "give whole reductions from 2 on, as in 100,20")
    return doses


def _print(report: Any) -> None:
    """Print the subjects as a table, as in summary.html."""
    from petrt.data.prepare.summary import COLUMNS, NARROW, rows

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in NARROW:
        one_a_line = column in ("doses", "activity ratio", "noise")
        table.add_column(column, max_width=8 if one_a_line else None)
    for row in rows(report.index, report.split_of, report.outcomes):
        cells = dict(zip(COLUMNS, row, strict=True))
        add_row(table, *(cells[column] for column in NARROW))
    Output().print(table)
