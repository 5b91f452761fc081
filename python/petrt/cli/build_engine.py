"""petrt build-engine: a model compiled by TensorRT for a kind of GPU, or quantized for this CPU."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from petrt.errors import UsageError

if TYPE_CHECKING:
    from petrt.build.install import Wants
    from petrt.engines.record import EngineRecord

logger = logging.getLogger("petrt")

COMPATIBLE = {
    "none": "none",
    "same-cc": "same-compute-capability",
    "ampere-plus": "ampere-plus",
}


def build_engine(
    model: Annotated[
        str | None, typer.Argument(help="Bundle, or name of a shipped model.", show_default=False)
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="auto, tensorrt or tensorrt-rtx; in int8 auto, onnxruntime or openvino."),
    ] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16 or bf16 (the default from compute capability 8.0 on); int8: on this CPU."
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            help="rtx30,rtx40,rtx50: built without having one; or cuda:1. Default: cuda:0."
        ),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            help="Slices in one call. Default: 16. A range costs memory.", metavar="N|MIN,OPT,MAX"
        ),
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(
            help="Samples of a slice in one call. Default: 1; more samples are more calls.",
            metavar="N|MIN,OPT,MAX",
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Slice size. Default: the model's. Repeated: a range, tuned for the first.",
            metavar="HxW",
        ),
    ] = None,
    workspace: Annotated[
        float | None,
        typer.Option(help="Most scratch memory of a layer. Default: no limit.", metavar="GIB"),
    ] = None,
    compatible: Annotated[
        str, typer.Option(help="TensorRT: also run on other GPUs. none, same-cc or ampere-plus.")
    ] = "none",
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="int8: low-dose NIfTI volume to calibrate on as well; repeatable.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build even if it is installed.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be built and why.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show what is installed.")] = False,
) -> None:
    """Compile a model with TensorRT, or quantize it for this CPU with --precision int8; verify its
    images and install it.

    What is installed and still fits is kept. Where images in int8 lose more than 0.05 dB of PSNR on
    simulated volumes, nothing is installed.
    """
    if list_:
        show_installed()
        return
    if model is None:
        raise UsageError("no model given", "petrt build-engine MODEL, for example demo")
    if compatible not in COMPATIBLE:
        raise UsageError(f"--compatible is '{compatible}'", f"choose {', '.join(COMPATIBLE)}")
    if workspace is not None and not workspace > 0:
        raise UsageError(f"--workspace is {workspace}", "give a positive number of GiB")
    ranges = {"slices": counts("--slices", slices), "samples": counts("--samples", samples)}
    sizes = [height_width(each) for each in size or []]
    names = [name for name in (gpu or "").split(",") if name]
    if precision == "int8":
        given = {"--gpu": gpu, "--slices": slices, "--samples": samples, "--size": size,
                 "--workspace": workspace, "--compatible": compatible != "none"}  # fmt: skip
        _run_int8(model, force, dry_run, engine, calibration or [], given)
        return
    if calibration:
        raise UsageError("--calibration is for --precision int8", "drop it")
    _run(
        model, force, dry_run,
        engine=engine, precision=precision, gpus=names, sizes=sizes, workspace_gib=workspace,
        compatible=COMPATIBLE[compatible], **ranges,
    )  # fmt: skip


def _run_int8(
    model: str,
    force: bool,
    dry_run: bool,
    engine: str,
    calibration: list[Path],
    given: dict[str, Any],
) -> None:
    """``given``: option -> its value, of those that int8 has no use for."""
    from petrt.build.int8 import build_int8, make_int8_request
    from petrt.build.quantize_ranges import Calibration
    from petrt.bundle import load_bundle
    from petrt.cli.progress import bar

    for option, value in given.items():
        if value:
            raise UsageError(f"{option} is for TensorRT, int8 runs on the CPU", "drop it")
    request = make_int8_request(load_bundle(model), engine, Calibration(tuple(calibration)))
    if not _only_said(request, force, dry_run):
        typer.echo(build_int8(request, force=force, bar=bar).folder)


def _run(model: str, force: bool, dry_run: bool, **options: Any) -> None:
    from petrt.build.install import build_engine as build
    from petrt.build.request import make_request
    from petrt.bundle import load_bundle
    from petrt.cli.progress import bar

    request = make_request(load_bundle(model), **options)
    if _only_said(request, force, dry_run):
        return
    entry = build(request, force=force, bar=bar)
    if entry.record.verified is None:
        logger.info("not verified: no such GPU here; it will be on first use")
    typer.echo(entry.folder)


def _only_said(request: Wants, force: bool, dry_run: bool) -> bool:
    """With ``dry_run``, what would be built and why."""
    from petrt.build.install import look_up

    if dry_run:
        entry, reason = look_up(request)
        if entry is not None and not force:
            typer.echo(f"installed: {request}")
        else:
            typer.echo(f"would build {request}: {'as asked (--force)' if entry else reason}")
    return dry_run


def counts(option: str, text: str | None) -> int | tuple[int, int, int] | None:
    """ "16" -> 16, "1,8,32" -> (1, 8, 32). Raises UsageError."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,6}", text):
        return int(text)
    if not re.fullmatch(r"\d{1,6},\d{1,6},\d{1,6}", text):
        raise UsageError(
            f"{option} is '{text}'", "give one number, or smallest,usual,largest: 16 or 1,8,32"
        )
    low, usual, high = (int(part) for part in text.split(","))
    return low, usual, high


def height_width(text: str) -> tuple[int, int]:
    """ "128x160" -> (128, 160). Raises UsageError."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not found:
        raise UsageError(f"--size is '{text}'", "give height x width, such as 128x128")
    return int(found[1]), int(found[2])


def show_installed() -> None:
    """A table of the installed engines, and of the folders that cannot be used."""
    from petrt.engines.cache import cache_root, installed
    from petrt.engines.record import CPU_LABELS, LABELS

    entries, broken = installed()
    table = Table(title=f"engines in {cache_root()}")
    for column in ("model", "engine", "precision", "built for", "profile", "MB", "verified"):
        table.add_column(column, overflow="fold")
    labels = {**LABELS, **CPU_LABELS}
    for entry in entries:
        record = entry.record
        psnr = record.verified.psnr_db if record.verified else None
        table.add_row(
            record.model.name,
            f"{labels[record.engine]} {record.engine_version}",
            record.precision,
            record.built_for,
            str(record.profile) if record.profile else _layers(record),
            f"{sum(file.bytes for file in record.files.values()) / 1e6:.1f}",
            "no" if record.verified is None else "equal" if psnr is None else f"{psnr:.1f} dB",
        )
    console = Console()
    Console(width=None if console.is_terminal else 160).print(table)
    for each in broken:
        logger.warning("warning: %s cannot be used: %s", each.folder.name, each.reason)


def _layers(record: EngineRecord) -> str:
    """Of quantized networks, which know no profile."""
    if record.quantized is None:
        return ""
    count, kept = sum(record.quantized.layers.values()), len(record.quantized.kept)
    return f"any size; {count} convolutions, {kept} more in float32"
