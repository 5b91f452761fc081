"""petrt reconstruct: reconstructs volumes, each on its own grid."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from petrt.cli.bids import participants
from petrt.cli.cases import CaseRunner, Runner
from petrt.cli.choices import OneOf
from petrt.cli.cluster import ClusterRunner
from petrt.cli.find import each_series, find
from petrt.cli.options import (
    CASES,
    OUTPUTS,
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
    Ray,
    Resume,
    Sampler,
    Samples,
    Seed,
    SeriesUids,
    Steps,
    Strength,
    Threads,
)
from petrt.cli.outcome import FAILED, Outcome
from petrt.cli.plan import (
    Destination,
    InputCase,
    allowing,
    check,
    plan_cases,
    with_named_doses,
    with_page_names,
)
from petrt.cli.ray_cluster import connected
from petrt.cli.regions import check_regions, measuring
from petrt.cli.resume import Keys, Standing, stand_all
from petrt.cli.setup import Setup
from petrt.cli.table import CaseTable, table_path
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
            "DICOM a second series, or a Parametric Map if this ends in .dcm.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    coarse: Annotated[
        Path | None,
        typer.Option(
            help="Write the coarse prediction here. Of DICOM a series of its own.",
            show_default=False,
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            metavar="LABELS",
            help="Label map (NIfTI) on the grid of a single input: mean, peak and maximum of each label, "
            "with intervals. Names from LABELS.tsv (index, name) beside it.",
            show_default=False,
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    regions_out: Annotated[
        Path | None,
        typer.Option(
            help="Write the table of the regions here: .tsv or .json. Default: it is printed.",
            show_default=False,
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    regions_level: Annotated[
        float, typer.Option(help="Probability of the regions' intervals.", rich_help_panel=OUTPUTS)
    ] = 0.9,
    dose: Dose = None,
    seed: Seed = 0,
    preset: Preset = None,
    sampler: Sampler = None,
    steps: Steps = None,
    strength: Strength = 1.0,
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
            help="dicom: derived PET series, each a folder. Default: what came in; NIfTI if OUT is named so.",
            show_default=False,
            rich_help_panel=OUTPUTS,
        ),
        OneOf("nifti", "dicom"),
    ] = None,
    compress: Annotated[
        str | None,
        typer.Option(
            help="Compress DICOM outputs without loss.", show_default=False, rich_help_panel=OUTPUTS
        ),
        OneOf("rle", "jpegls"),
    ] = None,
    series: SeriesUids = None,
    all_series: AllSeries = False,
    force_units: ForceUnits = False,
    record: Annotated[
        Path | None,
        typer.Option(
            "--json", help="Write the record of the run here; - is stdout.", rich_help_panel=OUTPUTS
        ),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(help="Write a picture (PNG) here.", rich_help_panel=OUTPUTS)
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with planes and numbers here (.html), self-contained; of several inputs a "
            "folder with an index.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = 1 << 29,
    num_parts: NumParts = 1,
    part_id: PartId = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    resume: Resume = False,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Write the table of the run here (.tsv, and .json beside it). Default: cases.tsv in the "
            "folder OUT.",
            show_default=False,
            rich_help_panel=CASES,
        ),
    ] = None,
    ray: Ray = None,
) -> None:
    """Reconstruct low-dose PET volumes. For several inputs OUT, --std, --coarse, --json, --preview
    and --report are folders.

    Outputs have the grid and units of their input. A DICOM series gives a derived
    series in the folder OUT. Of several inputs, those whose
    outputs exist already, made from the same bytes with the same model and options,
    are left out. Others are refused: --resume does again those that petrt made, --overwrite
    all. Not for diagnostic use.
    """
    from petrt.cli.dry_run import dry_run as show
    from petrt.io.bids.layout import is_dataset
    from petrt.io.dicom.writer import check_compression

    setup = Setup.given(locals())
    setup.check(std is not None)
    check_regions(regions, regions_out, regions_level, resume=resume)
    if ray is not None and dry_run:
        raise UsageError("--dry-run looks at this machine", "leave --ray out")
    if len(inputs) == 1 and is_dataset(inputs[0]):
        if std or coarse or record or preview or report or table or regions:
            raise UsageError(
                "a BIDS data set: --std, --coarse, --json, --preview, --report, --table and --regions are "
                "not for it, since its outputs have names of BIDS",
                "leave them out; petrt bids has --std, --coarse and a table",
            )
        participants(inputs[0], out, setup, ray=ray)
        return
    found, several = find(inputs)
    sources, uids = each_series(found, series, all_series)
    several = several or all_series or len(sources) > 1
    check_compression(compress)
    to = Destination(out, std, record, preview, coarse, out_format, report)
    cases, folders = plan_cases(sources, several, to, uids)
    if regions is not None:
        cases = [measuring(cases, folders, regions, regions_out, regions_level)]
    mine = allowing(setup.part(cases), overwrite, force_units, compress)
    if report is not None and (folders or report.is_dir()):
        mine = with_page_names(mine, report)
    if dose is None:
        mine = with_named_doses(mine)
        if mine and all(case.dose is not None for case in mine):
            # A model that needs a dose has one for every case; that of the whole run is not used.
            setup = replace(setup, dose=repr(mine[0].dose))
    if not mine:
        logger.info("nothing in this part: %d cases in %d parts", len(cases), num_parts)
        return
    if not (folders or dry_run or resume):
        check(mine, sources, folders=False)
    path = table_path(table, out if folders else None, num_parts, part_id)
    rows = None if path is None else CaseTable(path, mine, overwrite=overwrite)
    index = report if folders else None
    if index is not None:
        from petrt.evaluation.report.index import check_index

        check_index(index, overwrite=overwrite)
    job = Job(mine, sources, setup, folders, rows, index)
    if dry_run:
        keys = Keys(setup.reconstructor, setup.fraction, nonfinite)
        show(
            job.cases, sources, setup.reconstructor, keys, max_voxels, folders=folders, again=resume
        )
    elif ray is None:
        keys = Keys(setup.reconstructor, setup.fraction, nonfinite)
        runner = CaseRunner(
            setup.reconstructor, setup.dose, nonfinite, max_voxels, keys, several=folders
        )
        job.run(runner, keys)
    else:
        with connected(ray, setup) as cluster:
            job.run(ClusterRunner(cluster, several=folders), cluster.keys)


@dataclass(frozen=True)
class Job:
    """The cases of this part, with the table that they are told to; ``folders``: OUT is one. ``reports``: the
    folder of their reports, which gets an index."""

    cases: Sequence[InputCase]
    sources: Sequence[Path]
    setup: Setup
    folders: bool
    table: CaseTable | None
    reports: Path | None = None

    def run(self, runner: Runner, keys: Keys) -> None:
        """Run what is still to do. Raises PartialFailure if some cases failed."""
        todo = self._remaining(keys)
        if not todo:
            return
        failures = runner.run(todo, None if self.table is None else self.table.add)
        if self.reports is not None:
            self._index(self.reports)
        if failures:
            raise PartialFailure(
                f"{len(failures)} of {len(todo)} cases failed, the others are done", "see above"
            )

    def _index(self, folder: Path) -> None:
        """The index of the pages, without those of inputs that have changed since."""
        from petrt.cli.report_files import tables_in
        from petrt.evaluation.report.index import is_page, write_index

        rows: list[Outcome] = []
        if self.table is not None:
            here = Path(os.path.realpath(folder))
            for page in self.table.superseded():
                if page.parent == here and is_page(page):  # those of another --report stay
                    page.unlink()
            parts = self.setup.num_parts > 1
            rows = tables_in(self.table.path.parent) if parts else self.table.rows
        codes = [row.exit_code for row in rows if row.outcome == FAILED]
        write_index(folder, failed=codes, overwrite=True)

    def _remaining(self, keys: Keys) -> list[InputCase]:
        """The cases that are not done, after all checks of outputs."""
        table, stands = self.table, [Standing(case) for case in self.cases]
        if self.folders or self.setup.resume:
            before = None if table is None else table.row_before
            stands = stand_all(self.cases, keys, again=self.setup.resume, before=before)
        todo = [each.case for each in stands if not each.done]
        check(todo, self.sources, folders=self.folders)
        if table is not None:
            done = [each for each in stands if each.done]
            table.start((each.case, table.row_of_done(each.case, each.key)) for each in done)
        return todo
