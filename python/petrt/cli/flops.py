"""petrt flops: counts parameters and operations of each network of a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from petrt.cli.choices import OneOf, shipped
from petrt.cli.output import STDOUT, Output, cell, files, write_json
from petrt.errors import UsageError


def flops(
    subject: Annotated[
        str | None,
        typer.Argument(
            help="A preset (paper, small, ...), the folder of a checkpoint or run, a bundle, or the "
            "name of a shipped model.",
            show_default=False,
            autocompletion=shipped,
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="Slice size.", metavar="HxW")] = "128x128",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampler steps. Default: the model's.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples per slice (AMS).")] = 1,
    upsample: Annotated[
        str | None,
        typer.Option(help="Upsampling when folded. Default: conv, or the bundle's."),
        OneOf("conv", "transposed"),
    ] = None,
    table2: Annotated[
        bool,
        typer.Option(
            "--table2",
            help="Print Table 2 of the paper beside our counts of its networks; SUBJECT may be left out.",
        ),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all numbers here; - is stdout.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the JSON file.")] = False,
) -> None:
    """Print parameters, MACs and FLOPs per network and step, folded (as run) and unfolded (as published).

    Both the PyTorch modules and the networks' steps are counted; if the counts differ, nothing is
    printed. Without PyTorch a bundle is counted from its steps only.
    """
    from petrt.files.outputs import check_outputs

    check_outputs(files(json_file), overwrite=overwrite)
    if subject is None:
        if not table2:
            raise UsageError(
                "nothing to count", "petrt flops SUBJECT, for example demo; or --table2"
            )
        if upsample is not None:
            raise UsageError("--table2 has its own networks", "leave out --upsample")
        found, tables = _table2()
    else:
        found, tables = _subject(subject, size, steps, samples, upsample)
        if table2:
            found["table2"], more = _table2()
            tables += [Text("\nTable 2 of the paper"), *more]
    write_json(json_file, found, overwrite=overwrite)
    console = Output(err=json_file == STDOUT)
    for each in tables:
        console.print(each)


def _subject(
    subject: str, size: str, steps: int | None, samples: int, upsample: str | None
) -> tuple[dict[str, Any], list[Table | Text]]:
    from petrt.cli.build_engine import height_width
    from petrt.flops.report import describe
    from petrt.flops.subject import count_subject

    counted = count_subject(subject, *height_width(size), upsample)  # type: ignore[arg-type]
    found = describe(counted, steps or counted.steps, samples)
    return found, tables_of(found)


def _table2() -> tuple[dict[str, Any], list[Table | Text]]:
    from petrt.flops.report import describe_table2
    from petrt.flops.subject import has_torch
    from petrt.flops.table2 import table2
    from petrt.hardware.packages import TORCH

    if not has_torch():
        raise UsageError("petrt flops --table2 needs PyTorch", TORCH)

    found = describe_table2(table2())
    return found, table2_of(found)


def tables_of(found: dict[str, Any]) -> list[Table | Text]:
    """The result of ``petrt.flops.report.describe`` as tables."""
    height, width = found["size"]
    shown: list[Table | Text] = [
        cell(
            f"{found['subject']} ({found['kind']}): one slice {height} x {width}, "
            f"{found['samples']} x {found['steps']} steps, upsampling: {found['upsample']}"
        )
    ]
    for form in ("unfolded", "folded"):
        source = found["counted_from"][form]
        if found[form] is None:
            shown.append(Text(f"\n{form}: {source}"))
        else:
            shown += [Text(f"\n{form}, from {source}"), _form_table(found[form])]
    if found["folded_over_unfolded"] is not None:
        shown.append(
            Text(f"\nfolded over unfolded: {found['folded_over_unfolded']:.4f} of the work")
        )
    shown.append(Text(found["convention"], style="dim"))
    return shown


def _form_table(form: dict[str, Any]) -> Table:
    """A column for each network, and one for all calls of them."""
    total, parts = form["total"], form["parts"].values()
    table = _table("", *form["parts"], "all calls")

    def row(label: str, of_total: str, of_parts: Iterable[str]) -> None:
        table.add_row(label, *of_parts, of_total)

    for label, key in (("parameters", "parameters"), ("  of norms", "norm_parameters")):
        row(label, f"{total[key]:,}", (f"{part[key]:,}" for part in parts))
    row("calls", "", (f"{part['calls']}" for part in parts))
    for label, key in (
        ("M MACs a call", "macs"),
        ("  of attention", "attention_macs"),
        ("M FLOPs a call", "flops"),
    ):
        row(label, _million(total[key]), (_million(part[key]) for part in parts))
    works = [part["calls"] * part["flops"] for part in parts]
    row("M FLOPs of all", _million(total["flops"]), map(_million, works))
    row("share", "100 %", (f"{100 * part['share']:.2f} %" for part in parts))
    if form["noise_bias_parameters"]:
        table.caption = f"the noise bias table has {form['noise_bias_parameters']:,} parameters"
        table.caption_justify = "left"
    return table


def _million(value: int) -> str:
    return f"{value / 1e6:,.2f}"


def table2_of(found: dict[str, Any]) -> list[Table | Text]:
    """The result of ``petrt.flops.report.describe_table2`` as tables: of parameters, and of MACs."""
    sizes = _table("row", "networks", "steps", "M parameters", "paper", "off")
    work = _table("row", "G MACs", "as the authors run it", "paper", "off")
    for row in found["rows"]:
        sizes.add_row(
            row["row"],
            row["configuration"],
            str(row["steps"]),
            f"{row['parameters'] / 1e6:.3f}",
            f"{row['paper_parameters_m']:.3f}",
            f"{row['parameters_off_m']:+.3f}",
        )
        work.add_row(
            row["row"],
            f"{row['macs'] / 1e9:.2f}",
            f"{row['macs_as_printed'] / 1e9:.2f}",
            f"{row['paper_macs_g']:.0f}",
            f"{row['macs_off_g']:+.2f}",
        )
    return [sizes, Text(""), work]


def _table(*columns: str) -> Table:
    """A table with right-aligned numbers, which are never cut, and left-aligned names."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        named = column in ("", "row", "networks")
        table.add_column(
            column,
            justify="left" if named else "right",
            vertical="bottom" if not named else "top",
            no_wrap=column != "networks",
        )
    return table
