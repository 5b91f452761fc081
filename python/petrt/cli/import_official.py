"""petrt import-official: converts the authors' weights to a petrt checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from petrt.cli.output import not_stdout, say


def import_official(
    prefix: Annotated[
        str, typer.Argument(help="Path and prefix of the files {prefix}_PreNet_gen.pth etc.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new checkpoint.")],
    name: Annotated[str, typer.Option(help="The model's name.")] = "official",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint.")] = False,
) -> None:
    """Convert a checkpoint of the method's authors, without executing code in it."""
    not_stdout(out=out)
    from petrt.cli.needs import need_torch

    need_torch("petrt import-official")
    from petrt.nets.official import import_official as convert

    say(convert(prefix, out, name=name, overwrite=overwrite))
