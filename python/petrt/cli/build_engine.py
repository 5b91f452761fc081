"""petrt build-engine: compiles a model with TensorRT for a kind of GPU."""

from __future__ import annotations

import logging
import re
from typing import Annotated, Any

import typer
from rich.table import Table

from petrt.cli.choices import OneOf, offering, shipped
from petrt.cli.options import PRECISIONS, number
from petrt.cli.output import Output, add_row, cell, say
from petrt.errors import DeviceError, UsageError
from petrt.files.names import shown

logger = logging.getLogger("petrt")

COMPATIBLE = {"none": "none", "same-cc": "same-compute-capability", "ampere-plus": "ampere-plus"}


def build_engine(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Bundle, or name of a shipped model.", show_default=False, autocompletion=shipped
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="The first of both that is installed, or one of them."),
        OneOf("auto", "tensorrt", "tensorrt-rtx"),
    ] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(help="Default: bf16 from compute capability 8.0 on, else fp16."),
        OneOf(*PRECISIONS),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            help="rtx30,rtx40,rtx50 (needs no such GPU), or cuda:1. Default: cuda:0.",
            autocompletion=offering("rtx30", "rtx40", "rtx50", "cuda:0", "cuda:1"),
        ),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            help="Slices in one call. Default: 16. A range uses more memory.",
            metavar="N|MIN,OPT,MAX",
        ),
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(
            help="Samples per slice in one call. Default: 1. Further samples take further calls.",
            metavar="N|MIN,OPT,MAX",
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Slice size. Default: the model's. Given twice: a range, tuned for the first.",
            metavar="HxW",
        ),
    ] = None,
    workspace: Annotated[
        float | None,
        typer.Option(
            callback=number(0.001, 1e6, unit="GiB"),
            help="Limit of a layer's scratch memory. Default: none.",
            metavar="GIB",
        ),
    ] = None,
    compatible: Annotated[
        str, typer.Option(help="Other GPUs that a TensorRT engine runs on."), OneOf(*COMPATIBLE)
    ] = "none",
    force: Annotated[bool, typer.Option("--force", help="Build even if it is installed.")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Stop if another process is building the same engine.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be built and why.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show what is installed.")] = False,
) -> None:
    """Compile a model with TensorRT, verify its images and install it.

    An installed engine that fits is kept.
    """
    if list_:
        show_installed()
        return
    if model is None:
        raise UsageError("no model given", "petrt build-engine MODEL, for example demo")
    ranges = {"slices": counts("--slices", slices), "samples": counts("--samples", samples)}
    sizes = [height_width(each) for each in size or []]
    names = [name for name in (gpu or "").split(",") if name]
    _run(
        model,
        force,
        not no_wait,
        dry_run,
        engine=engine,
        precision=precision,
        gpus=names,
        sizes=sizes,
        workspace_gib=workspace,
        compatible=COMPATIBLE[compatible],
        **ranges,
    )


def _run(model: str, force: bool, wait: bool, dry_run: bool, **options: Any) -> None:
    from petrt.cli.progress import bar
    from petrt.export.tensorrt.install import build_engine as build
    from petrt.export.tensorrt.install import look_up
    from petrt.export.tensorrt.request import make_request
    from petrt.model.bundle import load_bundle

    request = make_request(load_bundle(model), **options)
    if dry_run:
        entry, reason = look_up(request)
        if entry is not None and not force:
            say(f"installed: {request}")
        else:
            say(f"would build {request}: {'as asked (--force)' if entry else reason}")
        return
    entry = build(request, force=force, wait=wait, bar=bar)
    if entry.record.verified is None:
        logger.info("not verified: no such GPU here; it will be verified at first use")
    say(entry.folder)


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
    """Print a table of the installed engines, and warn about folders that cannot be used."""
    from petrt.engines.store.folder import cache_root, installed
    from petrt.engines.store.record import LABELS

    entries, broken = installed()
    try:
        title = f"engines in {cache_root()}"
    except DeviceError as error:
        title = error.message
    table = Table(title=cell(title))
    for column in ("model", "engine", "precision", "built for", "profile", "MB", "verified"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        record = entry.record
        psnr = record.verified.psnr_db if record.verified else None
        add_row(
            table,
            record.model.name,
            f"{LABELS[record.engine]} {record.engine_version}",
            record.precision,
            record.built_for,
            str(record.profile),
            f"{sum(file.bytes for file in record.files.values()) / 1e6:.1f}",
            "no" if record.verified is None else "equal" if psnr is None else f"{psnr:.1f} dB",
        )
    Output().print(table)
    for each in broken:
        logger.warning("warning: %s cannot be used: %s", shown(each.folder), each.reason)
