"""petrt report: pages of reconstructions that are done, from their files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrt.cli.options import ForceUnits, MaxVoxels, Nonfinite, Overwrite
from petrt.errors import InputError, PartialFailure, PetrtError, UsageError
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.cli.report_files import Files, Records
    from petrt.evaluation.report.case import Case
    from petrt.io.volume import Volume

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
    from petrt.cli.report_files import Records, find_cases

    if len(paths) > 2:
        raise UsageError(f"{len(paths)} paths are given", "give IN and RUN")
    given = {"std": std, "coarse": coarse, "reference": reference, "labels": labels}
    cases, several = find_cases(paths, given | {"record": record})
    let_in = {"force_units": force_units, "nonfinite": nonfinite, "max_voxels": max_voxels}
    if several:
        _write_all(cases, out or paths[-1] / PAGES, let_in, overwrite)
        return
    _write(cases[0], out or _beside(cases[0].output, paths[-1]), Records(), let_in, overwrite)


def _beside(output: Path, run: Path) -> Path:
    name = output.name.removesuffix(".gz").removesuffix(".nii")
    return (run if run.is_dir() and run != output else output.parent) / f"{name}.html"


def _write_all(
    cases: Sequence[Files], folder: Path, let_in: dict[str, Any], overwrite: bool
) -> None:
    """The pages of several cases and their index. Raises PartialFailure if some cases failed."""
    from petrt.cli.cases import log_failed
    from petrt.cli.report_files import Records
    from petrt.evaluation.report.index import check_index, page_names, write_index
    from petrt.files.outputs import check_output, explained
    from petrt.io.source import sha256

    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    check_index(folder, overwrite=overwrite)
    names = page_names([sha256(case.input, case.series) for case in cases])
    for name in names:
        check_output(folder / name, overwrite=overwrite)
    records, failures = Records(), 0
    for case, name in zip(cases, names, strict=True):
        try:
            _write(case, folder / name, records, let_in, overwrite)
        except PetrtError as error:
            log_failed(case.input, error)
            failures += 1
    index = write_index(folder, overwrite=overwrite)
    if failures:
        raise PartialFailure(
            f"{failures} of {len(cases)} cases failed, the others are done", "see above"
        )
    logger.info("%s: %d cases", shown(index or folder), len(cases))


def _write(
    files: Files, path: Path, records: Records, let_in: dict[str, Any], overwrite: bool
) -> None:
    from petrt.evaluation.report.page import case_page
    from petrt.files.atomic import atomic_write_bytes
    from petrt.files.outputs import check_output

    known = [*files.volumes.values(), *([files.record] if files.record else [])]
    check_output(path, known, overwrite=overwrite)
    page = case_page(_case(files, records, let_in))
    atomic_write_bytes(path, page.encode(), overwrite=overwrite)
    logger.info("%s: %.1f MB", shown(path), len(page) / 1e6)


def _case(files: Files, records: Records, let_in: dict[str, Any]) -> Case:
    """The volumes of a case, in SUV where the input's headers give it, and its record. Raises InputError."""
    import numpy as np

    from petrt.evaluation.report.case import Case
    from petrt.io import source
    from petrt.suv import display

    first = source.read(files.input, series=files.series, **let_in)
    shown_in, record = display(first), _record(files, records)
    frames = first.data.shape[3] if first.data.ndim == 4 else 0
    number = next((n for n, f in enumerate(record.get("frames", ())) if not f.get("unchanged")), 0)

    def of(volume: Volume, scaled: bool = True) -> Any:
        same = volume.data.shape[:3] == first.data.shape[:3]
        still = not scaled and volume.data.ndim == 3  # labels of all frames
        if not (same and (still or volume.data.shape == first.data.shape)) or not np.allclose(
            volume.affine_mm, first.affine_mm, atol=0.05
        ):
            raise InputError(
                f"{shown(volume.path or 'a volume')}: its grid is not that of {shown(files.input)}",
                "give volumes of one grid",
            )
        values = shown_in.of(volume.data) if scaled else volume.data
        return values[..., number] if frames and not still else values

    others = {name: path for name, path in files.volumes.items() if name != "input"}
    volumes = {
        name: of(source.read(path, **let_in), scaled=name != "labels")
        for name, path in others.items()
    }
    return Case(
        of(first),
        affine=first.affine_mm,
        unit=shown_in.unit,
        record=record,
        frame=f"frame {number + 1} of {frames}" if frames else "",
        **volumes,
    )


def _record(files: Files, records: Records) -> dict[str, Any]:
    """What is known of the run, and the hashes of the files as they are. Raises InputError."""
    from petrt.files.hashes import output_sha256
    from petrt.io.source import sha256

    made = ("output", "std", "coarse")
    hashes = {
        name: output_sha256(path)
        if name in made
        else sha256(path, files.series if name == "input" else None)
        for name, path in files.volumes.items()
    }
    found = records.of(files, hashes)
    kinds = {"image": "output", "std": "std", "coarse": "coarse"}
    outputs = {kind: hashes[name] for kind, name in kinds.items() if name in hashes}
    told = found.get("hashes", {})
    own = {name: hashes[name] for name in ("input", "reference", "labels") if name in hashes}
    return found | {"hashes": told | own | {"outputs": told.get("outputs", {}) | outputs}}
