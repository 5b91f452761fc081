"""petrt reconstruct: reconstructs volumes, each on its own grid."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from petrt.cli.cases import CaseRunner, InputCase
from petrt.cli.options import (
    AllowActivityChange,
    AllSlices,
    Device,
    EngineName,
    Memory,
    Overwrite,
    Precision,
    Preset,
    Sampler,
    Seed,
    Steps,
    Threads,
)
from petrt.errors import InputError, PartialFailure, UsageError
from petrt.values import MOST

SUFFIXES = (".nii", ".nii.gz", ".hdr")


def reconstruct(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="IN...", help="NIfTI files, folders or globs.")
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
            help="Write the samples' standard deviation here, calibrated if the model has a calibration."
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
    record: Annotated[
        Path | None, typer.Option("--json", help="Write the record of the run here.")
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
        bool, typer.Option("--dry-run", help="Check and list the cases only.")
    ] = False,
) -> None:
    """Reconstruct low-dose PET volumes. For several inputs OUT, --std, --json and --preview are folders.

    Outputs have the grid and units of their input. Not for diagnostic use.
    """
    from petrt.diffusion.dose import parse_dose, settle
    from petrt.diffusion.presets import default_samples
    from petrt.inference.reconstructor import Reconstructor

    if std is not None and (samples or default_samples(preset)) < 2:
        raise UsageError("--std needs at least two samples", "add --samples 8")
    if part_id >= num_parts:
        raise UsageError(f"--part-id {part_id} must be below --num-parts {num_parts}")
    if nonfinite not in ("refuse", "zero"):
        raise UsageError(f"--nonfinite is '{nonfinite}'", "choose refuse or zero")
    fraction = None if dose is None else parse_dose(dose)
    sources, several = find(inputs)
    cases = plan_cases(sources, several, out, std, record, preview)[part_id::num_parts]
    check(cases, sources, several, dry_run, overwrite)
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
    if dry_run:
        for case in cases:
            typer.echo(f"{case.source} -> {case.image}")
        return
    todo = CaseRunner(reconstructor, fraction, nonfinite, max_voxels, overwrite)
    failures = todo.run(cases)
    if failures:
        raise PartialFailure(
            f"{len(failures)} of {len(cases)} cases failed, the others are done", "see above"
        )


def check(
    cases: Sequence[InputCase],
    sources: Sequence[Path],
    several: bool,
    dry_run: bool,
    overwrite: bool,
) -> None:
    """Raise UsageError for outputs that cannot be written, and make the output folders."""
    from petrt.files.atomic import check_outputs, explained
    from petrt.io import nifti

    volumes = [path for case in cases for path in (case.image, case.std) if path]
    others = [path for case in cases for path in (case.record, case.preview) if path]
    if several:
        if dry_run:
            return
        for folder in {path.parent for path in (*volumes, *others)}:
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
    for path in volumes:
        nifti.check_nifti_output(path, sources, overwrite=overwrite)
    check_outputs([*volumes, *others], sources, overwrite=overwrite)


def find(inputs: Sequence[Path]) -> tuple[list[Path], bool]:
    """The files named by ``inputs`` (files, folders, globs), and whether there may be several."""
    found: list[Path] = []
    several = len(inputs) > 1
    for entry in inputs:
        if entry.is_dir():
            several = True
            found += sorted(p for p in entry.iterdir() if p.name.endswith(SUFFIXES) and p.is_file())
        elif not entry.exists() and glob.has_magic(str(entry)):
            several = True
            found += sorted(Path(p) for p in glob.glob(str(entry)))
        else:
            found.append(entry)
    if not found:
        raise InputError("no NIfTI files found", "give .nii, .nii.gz or .hdr files")
    return list(dict.fromkeys(found)), several


def plan_cases(
    sources: Sequence[Path],
    several: bool,
    out: Path,
    std: Path | None,
    record: Path | None,
    preview: Path | None,
) -> list[InputCase]:
    """The inputs with the paths of their outputs."""
    if not several:
        image = out / _output_name(sources[0], ".nii.gz") if out.is_dir() else out
        return [InputCase(sources[0], image, std, record, preview)]
    cases = []
    for source in sources:
        names = [_output_name(source, end) for end in (".nii.gz", "_std.nii.gz", ".json", ".png")]
        folders = (out, std, record, preview)
        cases.append(
            InputCase(
                source,
                out / names[0],
                *(
                    f / n if f is not None else None
                    for f, n in zip(folders[1:], names[1:], strict=True)
                ),
            )
        )
    images = [case.image for case in cases]
    if len(set(images)) != len(images):
        raise UsageError("two inputs have the same name", "reconstruct their folders one by one")
    return cases


def _output_name(source: Path, ending: str) -> str:
    stem = source.name
    for suffix in (".nii.gz", ".nii", ".hdr", ".img"):
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
            break
    return stem + ending
