"""petrt report: pages of reconstructions that are done, from their files."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrt.cli.options import ForceUnits, MaxVoxels, Nonfinite, Overwrite
from petrt.errors import InputError, UsageError
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.evaluation.report.case import Case
    from petrt.io.volume import Volume

logger = logging.getLogger("petrt")

PAGES = "report"  # the folder of several pages
# The files of petrt demo by the volumes that they hold.
DEMO = {"input": "low", "output": "output", "std": "std", "reference": "full"}


@dataclass(frozen=True)
class Files:
    """The files of one case; ``record``: that of the run."""

    input: Path
    output: Path
    std: Path | None = None
    coarse: Path | None = None
    reference: Path | None = None
    record: Path | None = None


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[IN] RUN",
            help="Input and output of petrt reconstruct, both files or both folders; or the folder of petrt "
            "demo.",
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
        Path | None, typer.Option(help="Standard deviation of a single case; default: as below.")
    ] = None,
    coarse: Annotated[Path | None, typer.Option(help="Coarse prediction of a single case.")] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Full dose: adds metrics, Bland-Altman, reliability, errors."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--json", help="Record of the run of a single case.")
    ] = None,
    force_units: ForceUnits = False,
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = 1 << 29,
    overwrite: Overwrite = False,
) -> None:
    """Write self-contained pages of reconstructions: planes, numbers, how they were made.

    Of an output NAME.nii.gz, the files NAME_std.nii.gz, NAME_coarse.nii.gz and the record
    NAME.json are used where they lie beside it. Several cases get an index, worst
    first. Example: petrt report scans/ results/
    """
    if len(paths) > 2:
        raise UsageError(f"{len(paths)} paths are given", "give IN and RUN")
    cases, several = _cases(paths)
    single = Files(paths[0], paths[-1], std, coarse, reference, record)
    if several and any((std, coarse, reference, record)):
        raise UsageError(
            "--std, --coarse, --reference and --json are for a single case", "report it alone"
        )
    if not several:
        cases = [_with(cases[0], single)]
    let_in = {"force_units": force_units, "nonfinite": nonfinite, "max_voxels": max_voxels}
    if several:
        _write_all(cases, out or paths[-1] / PAGES, let_in, overwrite)
        return
    path = out or _beside(cases[0].output, paths[-1])
    _write(cases[0], path, let_in, overwrite)


def _cases(paths: list[Path]) -> tuple[list[Files], bool]:
    """The cases of the command's paths, and whether their pages go into a folder. Raises InputError."""
    for path in paths:
        if not path.exists():
            raise InputError(f"{shown(path)}: no such file", "check the path")
    run = paths[-1]
    if len(paths) == 1:
        demo = {role: run / f"{name}.nii.gz" for role, name in DEMO.items()}
        if not all(path.is_file() for path in demo.values()):
            raise UsageError(
                f"{shown(run)}: not a folder of petrt demo, so the inputs are not in it",
                "name them, too: petrt report IN RUN",
            )
        return [Files(**demo, record=run / "demo.json")], False
    from petrt.cli.find import find, is_one_dicom

    if not run.is_dir() or is_one_dicom(run):
        return [_beside_output(paths[0], run)], False
    sources, several = find(paths[:1])
    cases = [case for source in sources if (case := _in_folder(source, run)) is not None]
    if not cases:
        raise InputError(
            f"{shown(run)}: no output of {shown(paths[0])} is in it", "check the folders"
        )
    if len(cases) < len(sources):
        logger.warning(
            "warning: %d of %d inputs have no output", len(sources) - len(cases), len(sources)
        )
    return cases, several


def _in_folder(source: Path, run: Path) -> Files | None:
    """The case of an input whose output lies in the folder ``run``, under the name that petrt gives it."""
    from petrt.cli.plan import output_name

    for ending in (".nii.gz", ""):
        output = run / output_name(source, ending, None)
        if output.exists() and output != run:
            return _beside_output(source, output)
    return None


def _beside_output(source: Path, output: Path) -> Files:
    """An input and its output with what lies beside that."""
    stem = output.name.removesuffix(".gz").removesuffix(".nii")

    def there(ending: str) -> Path | None:
        path = output.parent / f"{stem}{ending}"
        return path if path.exists() else None

    deviation = there("_std.nii.gz") or there("_std")
    return Files(
        source, output, deviation, there("_coarse.nii.gz") or there("_coarse"), None, there(".json")
    )


def _with(found: Files, given: Files) -> Files:
    """The files of a single case with those that options name."""
    names = ("std", "coarse", "reference", "record")
    return Files(
        found.input, found.output, *(getattr(given, n) or getattr(found, n) for n in names)
    )


def _beside(output: Path, run: Path) -> Path:
    name = output.name.removesuffix(".gz").removesuffix(".nii")
    return (run if run.is_dir() and run != output else output.parent) / f"{name}.html"


def _write_all(cases: list[Files], folder: Path, let_in: dict[str, Any], overwrite: bool) -> None:
    """The pages of several cases and their index. Pages are named by the hash of their input."""
    from petrt.evaluation.report.index import check_index, write_index
    from petrt.files.outputs import explained
    from petrt.io.source import sha256

    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    check_index(folder, overwrite=overwrite)
    for case in cases:
        name = f"case-{sha256(case.input)[:12]}.html"
        _write(case, folder / name, let_in, overwrite)
    logger.info(
        "%s: %d cases", shown(write_index(folder, overwrite=overwrite) or folder), len(cases)
    )


def _write(files: Files, path: Path, let_in: dict[str, Any], overwrite: bool) -> None:
    from petrt.evaluation.report.page import case_page
    from petrt.files.atomic import atomic_write_bytes
    from petrt.files.outputs import check_output

    known = (files.input, files.output, files.std, files.coarse, files.reference, files.record)
    check_output(path, [each for each in known if each is not None], overwrite=overwrite)
    page = case_page(_case(files, let_in))
    atomic_write_bytes(path, page.encode(), overwrite=overwrite)
    logger.info("%s: %.1f MB", shown(path), len(page) / 1e6)


def _case(files: Files, let_in: dict[str, Any]) -> Case:
    """The volumes of a case, in SUV where the input's headers give it. Raises InputError."""
    import numpy as np

    from petrt.evaluation.report.case import Case
    from petrt.io import source
    from petrt.suv import display

    def read(path: Path | None) -> Volume | None:
        return None if path is None else source.read(path, **let_in)

    first = source.read(files.input, **let_in)
    shown_in, record = display(first), _record(files)
    frames = first.data.shape[3] if first.data.ndim == 4 else 0
    number = next((n for n, f in enumerate(record.get("frames", ())) if not f.get("unchanged")), 0)

    def of(volume: Volume | None) -> Any:
        if volume is None:
            return None
        same = volume.data.shape == first.data.shape
        if not same or not np.allclose(volume.affine_mm, first.affine_mm, atol=0.05):
            raise InputError(
                f"{shown(volume.path or 'a volume')}: its grid is not that of {shown(files.input)}",
                "give volumes of one grid",
            )
        values = shown_in.of(volume.data)
        return values[..., number] if frames else values

    volumes = {
        name: of(read(getattr(files, name))) for name in ("output", "std", "coarse", "reference")
    }
    return Case(
        of(first),
        affine=first.affine_mm,
        unit=shown_in.unit,
        record=record,
        frame=f"frame {number + 1} of {frames}" if frames else "",
        **volumes,
    )


def _record(files: Files) -> dict[str, Any]:
    """The record of the run that made the output. Raises InputError for one of another input or output."""
    from petrt.files.hashes import output_sha256
    from petrt.io.source import sha256

    if files.record is None:
        return {}
    try:
        content = json.loads(files.record.read_bytes())
        found = content.get("run", content)  # petrt demo has it in its numbers
        hashes = found.get("hashes", {})
    except (OSError, ValueError, AttributeError):
        raise InputError(f"{shown(files.record)}: no record of a run", "leave it out") from None
    if "frames" not in found or "model" not in found:
        raise InputError(f"{shown(files.record)}: no record of a run", "name it with --json")
    image = hashes.get("outputs", {}).get("image")
    if (image and image != output_sha256(files.output)) or (
        "input" in hashes and hashes["input"] != sha256(files.input)
    ):
        raise InputError(
            f"{shown(files.record)}: the record of another input or output",
            "name the record of this run with --json",
        )
    return dict(found)
