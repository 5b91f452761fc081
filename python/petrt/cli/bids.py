"""petrt bids: a BIDS app. Reconstructs the PET files of a data set, and gathers the numbers of all."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrt.cli.bids_cases import BidsKeys, case_of, runner_of
from petrt.cli.cases import Runner, log_failed
from petrt.cli.choices import OneOf
from petrt.cli.cluster import ClusterRunner
from petrt.cli.command import Command
from petrt.cli.options import (
    INPUT,
    OUTPUTS,
    AllowActivityChange,
    AllSlices,
    Device,
    Dose,
    DryRun,
    EngineName,
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
    Steps,
    Strength,
    Threads,
)
from petrt.cli.plan import InputCase, allowing
from petrt.cli.ray_cluster import connected
from petrt.cli.resume import Keys, remaining
from petrt.cli.setup import Setup
from petrt.errors import PartialFailure, PetrtError, UsageError

if TYPE_CHECKING:
    from petrt.io.bids.layout import Dataset, PetFile

logger = logging.getLogger("petrt")

LEVELS = ("participant", "group")
_LABELS = {
    "--participant-label": "Only these participants.",
    "--session-label": "Only these sessions.",
}


class BidsCommand(Command):
    """Takes several labels after one option, as BIDS apps do: ``--participant-label 01 02 03``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, one_label_each(args))


def one_label_each(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the option repeated before each label that follows it, after the analysis level:
    before, what follows may be a folder."""
    words, option, free = [], "", False
    for word in arguments:
        if word.startswith("-"):
            name = word.replace("_", "-")
            option, free = (name if name in _LABELS else ""), False
            words.append(option or word)
        elif option and free:
            words += [option, word]
        else:
            words.append(word)
            free = bool(option) and any(level in words for level in LEVELS)
    return words


def bids(
    bids_dir: Annotated[Path, typer.Argument(metavar="IN", help="Root of the BIDS data set.")],
    output_dir: Annotated[
        Path, typer.Argument(metavar="OUT", help="Root of the derivative data set.")
    ],
    analysis_level: Annotated[
        str,
        typer.Argument(
            metavar="LEVEL", help="participant: reconstruct; group: the cohort's table."
        ),
        OneOf(*LEVELS),
    ],
    participant_label: Annotated[
        list[str] | None, typer.Option(help=_LABELS["--participant-label"], rich_help_panel=INPUT)
    ] = None,
    session_label: Annotated[
        list[str] | None, typer.Option(help=_LABELS["--session-label"], rich_help_panel=INPUT)
    ] = None,
    std: Annotated[
        bool,
        typer.Option(
            "--std",
            help="Write the samples' standard deviation, too (desc-uncertainty).",
            rich_help_panel=OUTPUTS,
        ),
    ] = False,
    coarse: Annotated[
        bool,
        typer.Option(
            "--coarse",
            help="Write the coarse prediction, too (desc-coarse).",
            rich_help_panel=OUTPUTS,
        ),
    ] = False,
    model: Model = "demo",
    samples: Samples = None,
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
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = 1 << 29,
    num_parts: NumParts = 1,
    part_id: PartId = 0,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    resume: Resume = False,
    ray: Ray = None,
) -> None:
    """Reconstruct the PET files of a BIDS data set into a derivative data set.

    Run again, it leaves out what is done already: made from the same bytes and metadata with the same
    model and options. Level group writes group_pet.tsv, from all results in OUT. Not for diagnostic use.
    """
    from petrt.io.bids.layout import labels_of

    subjects = labels_of("sub", participant_label or ())
    sessions = labels_of("ses", session_label or ())
    if analysis_level == "group":
        if subjects or sessions:
            raise UsageError("labels select at level participant only", "leave them out")
        group(bids_dir, output_dir)
        return
    setup = Setup.given(locals())
    setup.check(std)
    if ray is not None and dry_run:
        raise UsageError("--dry-run looks at this machine", "leave --ray out")
    how: dict[str, Any] = {"std": std, "coarse": coarse, "ray": ray}
    participants(bids_dir, output_dir, setup, subjects, sessions, **how)


def participants(
    root: Path,
    out: Path,
    setup: Setup,
    subjects: Sequence[str] = (),
    sessions: Sequence[str] = (),
    *,
    std: bool = False,
    coarse: bool = False,
    ray: str | None = None,
) -> None:
    """Reconstruct the PET files of the data set ``root`` into the derivative data set ``out``; ``ray``: the
    address of a cluster that does it."""
    from petrt.cli.dry_run import dry_run as show
    from petrt.io.bids import derivatives, layout

    if ray is not None:  # for processes in other working folders
        root, out = root.absolute(), out.absolute()
    dataset = layout.open_dataset(root)
    derivatives.check_place(dataset, out)
    found = layout.find(dataset, subjects, sessions)
    if len(found.faults) == 1 and not found.files:
        raise found.faults[0]
    faults: list[PetrtError] = [*found.faults] if setup.part_id == 0 else []  # once in all parts
    for fault in faults:
        logger.error("failed: %s", fault, extra={"event": "failed"})
    cases = [case_of(file, out, std, coarse) for file in found.files]
    mine: list[InputCase] = allowing(setup.part(cases), setup.overwrite)
    if not mine:
        logger.info("nothing in this part: %d cases in %d parts", len(cases), setup.num_parts)
        _tell_failures(faults, len(faults))
        return
    if setup.dry_run:
        sources = [case.source for case in mine]
        now = BidsKeys(setup, found.files)
        show(mine, sources, setup.reconstructor, now, setup.max_voxels, folders=True)
        _tell_failures(faults, len(mine) + len(faults))
        return
    wrong = len(faults)
    with _runner(found.files, setup, ray) as (runner, keys):
        todo = remaining(mine, keys, again=setup.resume)
        if todo:
            _prepare(dataset, out, todo)
            faults += _run(todo, runner, alone=len(mine) + wrong == 1)
    _tell_failures(faults, len(todo) + wrong)


@contextmanager
def _runner(
    files: Sequence[PetFile], setup: Setup, ray: str | None
) -> Iterator[tuple[Runner, Keys]]:
    """What runs the cases: this machine, or the cluster ``ray``; and the keys of its results."""
    if ray is None:
        here = runner_of(files, setup)
        assert here.keys is not None
        yield here, here.keys
        return
    with connected(ray, setup, partial(runner_of, files)) as cluster:
        yield ClusterRunner(cluster), cluster.keys


def _prepare(dataset: Dataset, out: Path, cases: Sequence[InputCase]) -> None:
    """Make the derivative data set ``out``, if all outputs can be written. Raises UsageError."""
    from petrt.cli.dry_run import check_unmade
    from petrt.files.outputs import explained
    from petrt.io.bids.derivatives import write_description

    for case in cases:
        check_unmade(case, [case.source], True)
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    write_description(dataset, out)


def group(root: Path, out: Path) -> None:
    """Write the table of all results in the derivative data set ``out``."""
    from petrt.io.bids import derivatives, group, layout

    derivatives.check_place(layout.open_dataset(root), out)
    rows = group.rows(out)
    group.write(rows, out)
    logger.info("%s: %d images, not for diagnostic use", group.TABLE, len(rows))


def _run(todo: Sequence[InputCase], runner: Runner, alone: bool) -> list[PetrtError]:
    """Run the cases and return the errors of those that failed. The error of a case that is ``alone`` is
    raised; of the last one left of several it fails that one only."""
    try:
        return runner.run(todo)
    except PetrtError as error:
        if alone:
            raise
        log_failed(todo[0].source, error)
        return [error]


def _tell_failures(failures: Sequence[PetrtError], cases: int) -> None:
    if failures:
        raise PartialFailure(
            f"{len(failures)} of {cases} cases failed, the others are done", "see above"
        )
