"""petrt reconstruct: reconstructs volumes, each on its own grid."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from petrt.cli.bids import participants
from petrt.cli.cases import CaseRunner
from petrt.cli.find import each_series, find
from petrt.cli.options import (
    AllowActivityChange,
    AllSeries,
    AllSlices,
    Device,
    Dose,
    DryRun,
    EngineName,
    ForceUnits,
    MaxVoxels,
    Memory,
    Model,
    Nonfinite,
    NumParts,
    Overwrite,
    PartId,
    Precision,
    Preset,
    Sampler,
    Samples,
    Seed,
    SeriesUids,
    Steps,
    Threads,
)
from petrt.cli.plan import Destination, allowing, check, plan_cases
from petrt.cli.resume import Keys, remaining
from petrt.cli.setup import Setup
from petrt.errors import PartialFailure, UsageError

logger = logging.getLogger("petrt")


def reconstruct(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN...",
            help="NIfTI files, folders, globs (** is any folders); DICOM folders, files, DICOMDIR, zip;"
            " a BIDS data set.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File, or folder for several inputs.")],
    model: Model = "demo",
    samples: Samples = None,
    std: Annotated[
        Path | None,
        typer.Option(
            help="Write the samples' standard deviation here, calibrated if the model has a calibration. Of "
            "DICOM a second series, or a Parametric Map if this ends in .dcm."
        ),
    ] = None,
    dose: Dose = None,
    seed: Seed = 0,
    preset: Preset = None,
    sampler: Sampler = None,
    steps: Steps = None,
    device: Device = "auto",
    engine: EngineName = "auto",
    precision: Precision = None,
    threads: Threads = None,
    memory: Memory = None,
    all_slices: AllSlices = False,
    allow_activity_change: AllowActivityChange = False,
    out_format: Annotated[
        str | None,
        typer.Option(
            help="nifti, or dicom: derived PET series, each a folder. Default: what came in; NIfTI if OUT is "
            "named so.",
            show_default=False,
        ),
    ] = None,
    compress: Annotated[
        str | None,
        typer.Option(
            help="Compress DICOM outputs without loss: rle or jpegls.", show_default=False
        ),
    ] = None,
    series: SeriesUids = None,
    all_series: AllSeries = False,
    force_units: ForceUnits = False,
    record: Annotated[
        Path | None, typer.Option("--json", help="Write the record of the run here; - is stdout.")
    ] = None,
    preview: Annotated[Path | None, typer.Option(help="Write a picture (PNG) here.")] = None,
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = 1 << 29,
    num_parts: NumParts = 1,
    part_id: PartId = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Reconstruct low-dose PET volumes. For several inputs OUT, --std, --json and --preview are folders.

    Outputs have the grid and units of their input. A DICOM series gives a derived
    series in the folder OUT. Of several inputs, those whose
    outputs exist already, made from the same bytes with the same model and options,
    are left out; --overwrite redoes them. Not for diagnostic use.
    """
    from petrt.cli.dry_run import dry_run as show
    from petrt.io.bids.layout import is_dataset
    from petrt.io.dicom.writer import check_compression

    setup = Setup(
        model=model,
        samples=samples,
        dose=dose,
        seed=seed,
        preset=preset,
        sampler=sampler,
        steps=steps,
        device=device,
        engine=engine,
        precision=precision,
        threads=threads,
        memory=memory,
        all_slices=all_slices,
        allow_activity_change=allow_activity_change,
        nonfinite=nonfinite,
        max_voxels=max_voxels,
        num_parts=num_parts,
        part_id=part_id,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    setup.check(std is not None)
    if len(inputs) == 1 and is_dataset(inputs[0]):
        if std or record or preview:
            raise UsageError(
                "a BIDS data set: outputs have names of BIDS, so --std, --json and --preview name none",
                "leave them out; petrt bids has --std",
            )
        participants(inputs[0], out, setup)
        return
    found, several = find(inputs)
    sources, uids = each_series(found, series, all_series)
    several = several or all_series or len(sources) > 1
    check_compression(compress)
    to = Destination(out, std, record, preview, out_format)
    cases, folders = plan_cases(sources, several, to, uids)
    mine = allowing(setup.part(cases), overwrite, force_units, compress)
    if not mine:
        logger.info("nothing in this part: %d cases in %d parts", len(cases), num_parts)
        return
    if not (folders or dry_run):
        check(mine, sources, folders=False)
    keys = Keys(setup.reconstructor, setup.fraction, nonfinite)
    if dry_run:
        show(mine, sources, setup.reconstructor, keys, max_voxels, folders=folders)
        return
    todo = mine
    if folders:
        todo = remaining(mine, keys)
        check(todo, sources, folders=True)
    if not todo:
        return
    runner = CaseRunner(
        setup.reconstructor, setup.fraction, nonfinite, max_voxels, keys, several=folders
    )
    if failures := runner.run(todo):
        raise PartialFailure(
            f"{len(failures)} of {len(todo)} cases failed, the others are done", "see above"
        )
