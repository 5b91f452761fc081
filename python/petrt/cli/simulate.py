"""petrt simulate: writes a data set of simulated subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from petrt.cli.choices import OneOf
from petrt.cli.options import number
from petrt.cli.output import not_stdout, say
from petrt.data.simulate import write_dataset
from petrt.data.simulate.subject import MOST_SEED, SCANNERS
from petrt.errors import UsageError
from petrt.values import MOST, MOST_WORKERS


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the data set; created if missing.")],
    subjects: Annotated[int, typer.Option(help="Number of subjects.", min=1, max=MOST)] = 1,
    first: Annotated[
        int,
        typer.Option(
            help="Number of the first subject; each number is another subject.",
            min=0,
            max=MOST_SEED,
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the data set.", min=0, max=MOST_SEED)] = 0,
    dose: Annotated[
        list[int] | None,
        typer.Option(help="Dose reduction: 4, 10, 20, 50 or 100 (the default); repeatable."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Voxels along each axis; 128 if not given.", min=16, max=512)
    ] = None,
    voxel_mm: Annotated[
        float | None,
        typer.Option(
            callback=number(0.5, 16, unit="mm"), help="Voxel size in millimetres; 2 if not given."
        ),
    ] = None,
    scanner: Annotated[
        str,
        typer.Option(
            help="basic: one scanner, FDG. varied: tracer, patient, scanner drawn per subject."
        ),
        OneOf(*SCANNERS),
    ] = "basic",
    own_grid: Annotated[
        bool,
        typer.Option(
            "--own-grid",
            help="With varied: each subject on its scanner's grid; no --size, no --voxel-mm.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes.", min=1, max=MOST_WORKERS)] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
) -> None:
    """Simulate brain PET at full and reduced dose: NIfTI volumes in Bq/ml and dataset.json."""
    not_stdout(out=out)
    if own_grid and not (size is None and voxel_mm is None):
        raise UsageError(
            "--own-grid takes each scanner's own grid", "leave out --size and --voxel-mm"
        )
    size = 128 if size is None else size
    if voxel_mm is None and not own_grid:
        voxel_mm = 2.0
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("subjects", total=subjects)
        index = write_dataset(
            out,
            range(first, first + subjects),
            seed,
            dose or (100,),
            shape=(size, size, size),
            voxel_mm=voxel_mm,
            scanner=scanner,
            workers=workers,
            overwrite=overwrite,
            progress=lambda _: bar.advance(task),
        )
    say(index)
