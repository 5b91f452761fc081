"""petrt reconstruct: reconstructs volumes, each on its own grid."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from petrt.cli.cases import CaseRunner
from petrt.cli.find import each_series, find
from petrt.cli.options import (
    AllowActivityChange,
    AllSeries,
    AllSlices,
    Device,
    EngineName,
    ForceUnits,
    Memory,
    Overwrite,
    Precision,
    Preset,
    Sampler,
    Seed,
    SeriesUids,
    Steps,
    Threads,
)
from petrt.cli.plan import Destination, InputCase, allowing, check, plan_cases
from petrt.cli.resume import Keys, standing
from petrt.errors import PartialFailure, UsageError
from petrt.values import MOST

logger = logging.getLogger("petrt")


def reconstruct(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN...",
            help="NIfTI files, folders or globs (** is any folders); DICOM folders, files, DICOMDIR or zip.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File, or folder for several inputs.")],
    model: Annotated[str, typer.Option(help="Bundle, or name of a shipped model.")] = "demo",
    samples: Annotated[
        int | None,
        typer.Option(min=1, max=MOST, help="Samples to average (AMS). Default: the preset's."),
    ] = None,
    std: Annotated[
        Path | None,
        typer.Option(
            help="Write the samples' standard deviation here, calibrated if the model has a calibration. Of "
            "DICOM a second series, or a Parametric Map if this ends in .dcm."
        ),
    ] = None,
    dose: Annotated[
        str | None,
        typer.Option(help="Fraction of the full dose, as 1/20 or 0.05. Default: the model's."),
    ] = None,
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
    nonfinite: Annotated[
        str, typer.Option(help="NaN and infinite voxels: refuse, or zero.")
    ] = "refuse",
    max_voxels: Annotated[
        int, typer.Option(min=1, help="Refuse volumes with more voxels than this.")
    ] = 1 << 29,
    num_parts: Annotated[
        int, typer.Option(min=1, help="Number of parts to split the cases into.")
    ] = 1,
    part_id: Annotated[int, typer.Option(min=0, help="Run this part only (from 0).")] = 0,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Read headers, look at outputs, estimate time and memory; no more."
        ),
    ] = False,
) -> None:
    """Reconstruct low-dose PET volumes. For several inputs OUT, --std, --json and --preview are folders.

    Outputs have the grid and units of their input. A DICOM series gives a derived
    series in the folder OUT. Of several inputs, those whose
    outputs exist already, made from the same bytes with the same model and options,
    are left out; --overwrite redoes them. Not for diagnostic use.
    """
    from petrt.cli.dry_run import dry_run as show
    from petrt.diffusion.dose import parse_dose, settle
    from petrt.diffusion.presets import default_samples
    from petrt.inference.reconstructor import Reconstructor
    from petrt.io.dicom.writer import check_compression

    if std is not None and (samples or default_samples(preset)) < 2:
        raise UsageError("--std needs at least two samples", "add --samples 8")
    if part_id >= num_parts:
        raise UsageError(f"--part-id {part_id} must be below --num-parts {num_parts}")
    if nonfinite not in ("refuse", "zero"):
        raise UsageError(f"--nonfinite is '{nonfinite}'", "choose refuse or zero")
    fraction = None if dose is None else parse_dose(dose)
    found, several = find(inputs)
    sources, uids = each_series(found, series, all_series)
    several = several or all_series or len(sources) > 1
    check_compression(compress)
    to = Destination(out, std, record, preview, out_format)
    cases, folders = plan_cases(sources, several, to, uids)
    mine = allowing(cases[part_id::num_parts], overwrite, force_units, compress)
    if not mine:
        logger.info("nothing in this part: %d cases in %d parts", len(cases), num_parts)
        return
    if not (folders or dry_run):
        check(mine, sources, folders=False)
    reconstructor = Reconstructor(
        model,
        samples=samples,
        preset=preset,
        steps=steps,
        sampler=sampler,
        seed=seed,
        engine=engine,
        device=device,
        precision=precision,
        threads=threads,
        memory=None if memory is None else int(memory * 2**30),
        skip_background=not all_slices,
        allow_activity_change=allow_activity_change,
    )
    fraction = settle(fraction, reconstructor.bundle.model)
    keys = Keys(reconstructor, fraction, nonfinite)
    if dry_run:
        show(mine, sources, reconstructor, keys, max_voxels, folders=folders)
        return
    todo = sort_out(mine, sources, keys) if folders else mine
    if not todo:
        return
    runner = CaseRunner(reconstructor, fraction, nonfinite, max_voxels, keys, several=folders)
    if failures := runner.run(todo):
        raise PartialFailure(
            f"{len(failures)} of {len(todo)} cases failed, the others are done", "see above"
        )


def sort_out(cases: list[InputCase], sources: list[Path], keys: Keys) -> list[InputCase]:
    """The cases that are still to do. Raises UsageError for outputs that cannot be written, before any
    work, and makes the output folders."""
    stands = [standing(case, keys) for case in cases]
    if refused := next((each.refused for each in stands if each.refused), None):
        raise refused
    todo = [each.case for each in stands if not each.done]
    if len(todo) < len(cases):
        logger.info("%d of %d cases are done already", len(cases) - len(todo), len(cases))
    check(todo, sources, folders=True)
    return todo
