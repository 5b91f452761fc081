"""petrt report: pages of reconstructions that are done, from their files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrt.cli.options import ForceUnits, MaxVoxels, Nonfinite, Overwrite, SeriesUids
from petrt.cli.plan import names_of_pages
from petrt.errors import InputError, PartialFailure, PetrtError, UsageError
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.cli.report_files import Cohort, Files
    from petrt.evaluation.report.case import Case

logger = logging.getLogger("petrt")

PAGES = "report"  # the folder of several pages


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[IN] RUN",
            help="Input and output of petrt reconstruct, both files or both folders. RUN alone: the folder "
            "of petrt demo, or one with the cases.json of a run, which tells where its inputs are.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Page (.html); of several cases a folder. Default: beside the output, or the folder report "
            "in RUN.",
            show_default=False,
        ),
    ] = None,
    std: Annotated[
        Path | None, typer.Option(help="Standard deviation; default: what lies beside the output.")
    ] = None,
    coarse: Annotated[
        Path | None, typer.Option(help="Coarse prediction; default: what lies beside the output.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Full dose: adds metrics, Bland-Altman, reliability, errors."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Label map of the Bland-Altman plot; default: cubes of 2 cm."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--json", help="Record of the run; default: NAME.json beside the output, or cases.json."
        ),
    ] = None,
    series: SeriesUids = None,
    force_units: ForceUnits = False,
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = 1 << 29,
    overwrite: Overwrite = False,
) -> None:
    """Write self-contained pages of reconstructions: planes, numbers, how they were made.

    Of an output NAME.nii.gz, the files NAME_std.nii.gz, NAME_coarse.nii.gz and the record
    NAME.json are used where they lie beside it. Several cases get an index, worst
    first; the options then name folders of files that are called like their inputs.
    Example: petrt report scans/ results/
    """
    from petrt.cli.report_files import find_cases

    if len(paths) > 2:
        raise UsageError(f"{len(paths)} paths are given", "give IN and RUN")
    given = {"std": std, "coarse": coarse, "reference": reference, "labels": labels}
    found = find_cases(paths, given | {"record": record}, series)
    let_in = {"force_units": force_units, "nonfinite": nonfinite, "max_voxels": max_voxels}
    if found.several:
        _write_all(found, out or paths[-1] / PAGES, let_in, overwrite)
        return
    (case,) = found.cases
    _write(case, out or _beside(case, paths), let_in, overwrite)


def _beside(case: Files, paths: Sequence[Path]) -> Path:
    """Where the page of a single case goes: beside its output, under the name of that where the user gave it,
    else by the hash of the input."""
    run, output = paths[-1], case.output
    if len(paths) > 1 and run.is_dir() and run != output:
        return run / names_of_pages([(case.input, case.series)])[0]
    return output.with_name(output.name.removesuffix(".gz").removesuffix(".nii") + ".html")


def _write_all(found: Cohort, folder: Path, let_in: dict[str, Any], overwrite: bool) -> None:
    """The pages of several cases and their index. Raises PartialFailure if some cases failed."""
    from petrt.cli.cases import log_failed
    from petrt.evaluation.report.index import check_index, write_index
    from petrt.files.outputs import explained

    cases, failures = found.cases, []
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    check_index(folder, overwrite=overwrite)
    names = names_of_pages([(case.input, case.series) for case in cases])
    for case, name in zip(cases, names, strict=True):
        try:
            _write(case, folder / name, let_in, overwrite)
        except PetrtError as error:
            log_failed(case.input, error)
            failures.append(error)
    codes = [error.exit_code for error in failures] + [row.exit_code for row in found.failed]
    index = write_index(folder, names, codes, overwrite=overwrite)
    count = f"{len(cases)} case{'s' * (len(cases) != 1)}"
    if failures:
        raise PartialFailure(f"{len(failures)} of {count} failed, the others are done", "see above")
    logger.info("%s: %s", shown(index), count)


def _write(files: Files, path: Path, let_in: dict[str, Any], overwrite: bool) -> None:
    from petrt.evaluation.report.index import is_page_of
    from petrt.evaluation.report.page import case_page
    from petrt.files.atomic import atomic_write_bytes
    from petrt.files.outputs import check_output
    from petrt.io.source import sha256

    known = [*files.volumes.values(), *([files.record] if files.record else [])]
    overwrite = overwrite or is_page_of(path, sha256(files.input, files.series))
    check_output(path, known, overwrite=overwrite)
    page = case_page(_case(files, let_in))
    atomic_write_bytes(path, page.encode(), overwrite=overwrite)
    logger.info("%s: %.1f MB", shown(path), len(page) / 1e6)


def _case(files: Files, let_in: dict[str, Any]) -> Case:
    """The volumes of a case, in SUV where the input's headers give it, and its record. Raises InputError."""
    import numpy as np

    from petrt.evaluation.report.case import Case
    from petrt.io import source
    from petrt.suv import display

    first = source.read(files.input, series=files.series, **let_in)
    files, record = _with_record(files)
    shown_in = display(first)
    frames = first.data.shape[3] if first.data.ndim == 4 else 0
    number = next((n for n, f in enumerate(record.get("frames", ())) if not f.get("unchanged")), 0)

    def of(name: str, path: Path) -> Any:
        volume = source.read(path, **let_in)
        is_map = name == "labels"  # which is not scaled, and may hold for all frames
        shape = first.data.shape[: 3 if is_map and volume.data.ndim == 3 else None]
        if volume.data.shape != shape or not np.allclose(
            volume.affine_mm, first.affine_mm, atol=0.05
        ):
            raise InputError(
                f"{shown(path)}: its grid is not that of {shown(files.input)}",
                "give volumes of one grid",
            )
        values = volume.data if is_map else shown_in.of(volume.data)
        return values[..., number] if values.ndim == 4 else values

    others = {name: path for name, path in files.volumes.items() if name != "input"}
    values = shown_in.of(first.data)
    return Case(
        values[..., number] if frames else values,
        affine=first.affine_mm,
        unit=shown_in.unit,
        record=record,
        frame=f"frame {number + 1} of {frames}" if frames else "",
        **{name: of(name, path) for name, path in others.items()},
    )


def _with_record(files: Files) -> tuple[Files, dict[str, Any]]:
    """The files without maps of other runs; what is known of the run, with the hashes of all files.

    Raises InputError for such a map that an option names, and for a record of another run.
    """
    from petrt.cli.report_files import record_of
    from petrt.files.hashes import output_sha256
    from petrt.io.source import sha256

    hashes = {
        name: output_sha256(path)
        if name in ("output", "std", "coarse")
        else sha256(path, files.series if name == "input" else None)
        for name, path in files.volumes.items()
    }
    found = record_of(files, hashes)
    told = found.get("hashes", {})
    for name in ("std", "coarse"):
        path = getattr(files, name)
        if path is None or not found or told["outputs"].get(name) == hashes[name]:
            continue
        if name in files.named:
            raise InputError(
                f"--{name} {shown(path)}: not of the run that made the output",
                "name that of this run, or leave it out",
            )
        logger.info("%s: not of the run that made the output; it is left out", shown(path))
        left_out: dict[str, Any] = {name: None}
        files = replace(files, **left_out)
        del hashes[name]
    kinds = {"output": "image", "std": "std", "coarse": "coarse"}
    outputs = {kind: hashes[name] for name, kind in kinds.items() if name in hashes}
    own = {name: hashes[name] for name in ("input", "reference", "labels") if name in hashes}
    return files, found | {"hashes": told | own | {"outputs": told.get("outputs", {}) | outputs}}
