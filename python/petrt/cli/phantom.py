"""petrt phantom: what a model does to the NEMA image quality phantom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from petrt.cli.choices import OneOf
from petrt.cli.command import asked
from petrt.cli.options import (
    Device,
    Dose,
    EngineName,
    ForceUnits,
    MaxVoxels,
    Model,
    Nonfinite,
    Overwrite,
    Preset,
    Samples,
    Seed,
    SeriesUids,
    Threads,
)
from petrt.cli.output import Output, not_stdout, say
from petrt.errors import InputError, UsageError
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.evaluation.report.case import Case
    from petrt.inference.reconstructor import Reconstructor
    from petrt.io.volume import Volume

_NOT_OF_NUMBERS = ("report_file", "threads", "overwrite")  # options that change none
NUMBERS, PICTURE = "phantom.json", "phantom_{}_{}.png"


def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of numbers and pictures.")],
    scan: Annotated[
        Path | None,
        typer.Option(
            "--scan", help="A real scan of the phantom (NIfTI or DICOM). Default: simulated."
        ),
    ] = None,
    full: Annotated[
        Path | None, typer.Option(help="Its full dose on the same grid: gives the biases.")
    ] = None,
    centres: Annotated[
        Path | None,
        typer.Option(help="CSV diameter_mm,x,y,z of the spheres, mm. Default: they are found."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="NEMA's body, or its spheres in a head of 20 cm. Default: both; body of a scan."
        ),
        OneOf("body", "head"),
    ] = None,
    contrast: Annotated[float, typer.Option(help="Activity of the spheres / background.")] = 4.0,
    cold: Annotated[
        list[float] | None, typer.Option(help="Diameter of a sphere without activity; repeatable.")
    ] = None,
    reduction: Annotated[
        list[int] | None,
        typer.Option(
            "--reduction", min=2, max=1000, help="Simulated: 100 for 1/100. Default: 100, 20."
        ),
    ] = None,
    realisations: Annotated[
        int, typer.Option(min=1, max=1000, help="Simulated: drawn counts.")
    ] = 4,
    report_file: Annotated[
        Path | None,
        typer.Option(
            "--report", help="Write an HTML page of tables and pictures here.", show_default=False
        ),
    ] = None,
    model: Model = "demo",
    samples: Samples = None,
    preset: Preset = None,
    dose: Dose = None,
    seed: Seed = 0,
    engine: EngineName = "auto",
    device: Device = "auto",
    threads: Threads = None,
    series: SeriesUids = None,
    force_units: ForceUnits = False,
    nonfinite: Nonfinite = "refuse",
    max_voxels: MaxVoxels = 1 << 29,
    overwrite: Overwrite = False,
) -> None:
    """Contrast recovery against background variability, beside Gaussian filters at equal noise.

    Simulates the NEMA phantom in petrt's scanner, or takes a real scan of it. Not for diagnostic use.
    """
    given = asked(phantom, locals(), _NOT_OF_NUMBERS)
    not_stdout(out=out, report=report_file)
    from petrt.diffusion.dose import settle
    from petrt.evaluation import nema
    from petrt.evaluation.report.made import command_line
    from petrt.inference.phantom_report import Simulation, of_series, simulated
    from petrt.inference.reconstructor import Reconstructor
    from petrt.io.source import sha256

    if scan is None and (full or centres or dose or series):
        raise UsageError("--full, --centres, --dose and --series are for a scan", "give --scan")
    if scan is not None and (reduction or len(kind or ()) > 1):
        raise UsageError("--reduction and several kinds are simulated", "leave out --scan")
    kinds, diameters = tuple(kind or nema.KINDS), tuple(cold or ())
    for each in kinds:
        nema.phantom(each, contrast=contrast, cold=diameters)
    where = _folder(out, report_file, overwrite)
    run: Reconstructor = Reconstructor(
        model,
        samples=samples,
        preset=preset,
        seed=seed,
        engine=engine,
        device=device,
        threads=threads,
    )
    given |= _pinned(run)
    seen: list[Case] = []
    first = None if report_file is None else seen.append
    if scan is None:
        what = Simulation(
            kinds, tuple(reduction or (100, 20)), realisations, contrast, diameters, seed
        )
        report = simulated(run, what, first=first)
    else:
        options = {"force_units": force_units, "nonfinite": nonfinite, "max_voxels": max_voxels}
        uid = series[0] if series else None
        volume = _volume(scan, series=uid, **options)
        reference = None if full is None else _volume(full, **options)
        _check_grid(volume, reference)
        only = nema.phantom((kind or ("body",))[0], contrast=contrast, cold=diameters)
        found = _found(volume, centres, only, diameters)
        hashes = {"input": sha256(scan, uid)}
        if full is not None:
            hashes["reference"] = sha256(full)
        told = settle(dose, run.bundle.model)
        report = of_series(run, volume, reference, found, told, hashes, first)
    command = command_line("petrt phantom OUT", given)
    page = None if report_file is None else Page(report_file, seen[0], command)
    _write(where, page, report)
    _print(report)
    say(out / NUMBERS)


def _pinned(run: Reconstructor) -> dict[str, Any]:
    """What the page's command names of the run, since another machine or version may choose otherwise."""
    drawn = {"samples": run.samples, "seed": run.seed} if run.sampler is not None else {}
    device = run.engine.device.partition(":")[0]
    return {"preset": run.preset, **drawn, "device": device, "engine": run.engine.name}


def _folder(out: Path, page: Path | None, overwrite: bool) -> tuple[Path, bool]:
    """The folder, made, and whether its files may be replaced. Raises UsageError for files that exist."""
    from petrt.files.outputs import check_output, explained

    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    check_output(out / NUMBERS, overwrite=overwrite)
    if page is not None:
        check_output(page, overwrite=overwrite)
    return out, overwrite


def _volume(path: Path, **options: Any) -> Volume:
    from petrt.io import source

    volume = source.read(path, **options)
    if volume.data.ndim != 3:
        raise InputError(f"{shown(path)}: a series of frames", "give one static frame")
    return volume


def _check_grid(volume: Volume, full: Volume | None) -> None:
    import numpy as np

    if full is None:
        return
    same = volume.data.shape == full.data.shape
    if not same or not np.allclose(volume.affine_mm, full.affine_mm, atol=1e-2):
        raise InputError("the scan and its full dose have different grids", "resample one")


def _found(volume: Volume, centres: Path | None, only: Any, cold: tuple[float, ...]) -> Any:
    from petrt.evaluation.nema_find import find_spheres, read_centres

    if centres is not None:
        return read_centres(centres, only)
    return find_spheres(volume.data, volume.affine_mm, only.kind, contrast=only.contrast, cold=cold)


@dataclass(frozen=True)
class Page:
    """Where the page goes, the reconstruction in its planes, and the command that makes it again."""

    path: Path
    case: Case
    command: str


def _write(where: tuple[Path, bool], page: Page | None, report: dict[str, Any]) -> None:
    """Numbers, pictures and the page, together."""
    from petrt.evaluation.report.phantom_page import phantom_page
    from petrt.evaluation.report.phantom_plot import phantom_png
    from petrt.files.atomic import atomic_write_bytes, atomic_write_json, together

    out, overwrite = where
    pictures = {}
    with together():
        for kind, doses in report["phantoms"].items():
            for dose, found in doses.items():
                name = PICTURE.format(kind, dose.replace("/", "to").replace(" ", "-"))
                picture = phantom_png(found["each"], f"NEMA phantom ({kind}), {dose} dose")
                atomic_write_bytes(out / name, picture, overwrite=overwrite)
                pictures[kind, dose] = picture
        if page is not None:
            text = phantom_page(report, page.case, pictures, page.command)
            atomic_write_bytes(page.path, text.encode(), overwrite=overwrite)
        atomic_write_json(out / NUMBERS, report, overwrite=overwrite)


def _print(report: dict[str, Any]) -> None:
    """A table for each phantom and dose: Q and N in per cent."""
    console = Output()
    for kind, doses in report["phantoms"].items():
        for dose, found in doses.items():
            table = Table(box=box.SIMPLE_HEAD, title=f"{kind}, {dose} dose", title_justify="left")
            heads = ("sphere", "Q in", "N in", "Q out", "N out", "Q Gaussian\nat N out", "gain %")
            for head in heads:
                table.add_column(head, justify="right", vertical="bottom")
            for row in found["spheres"]:
                keys = ("input", "input_variability", "output", "output_variability", "gaussian")
                cells = [_cell(row[key]) for key in (*keys, "gain_percent")]
                table.add_row(f"{row['diameter_mm']:g} mm", *cells)
            console.print(table)
            ratio = _cell(found["activity_ratio"], 4)
            lung = f"lung error {_cell(found['lung_input'])} -> {_cell(found['lung_output'])} %"
            console.print(f"activity ratio {ratio}, {lung}")
            for name, bias in found.get("bias", {}).get("output", {}).items():
                text = f"SUV{name} against the full dose: {_cell(bias['mean'])} %"
                console.print(
                    f"{text}, 95 % limits {_cell(bias['low'])} to {_cell(bias['high'])} %"
                )


def _cell(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
