"""petrt export: from a checkpoint to a bundle that runs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from petrt.errors import UsageError


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint's folder, or a training run's.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new bundle.")],
    precision: Annotated[
        str, typer.Option(help="fp32, or fp16-weights: half the size, weights rounded.")
    ] = "fp32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle.")] = False,
) -> None:
    """Fold, export to ONNX and verify; the measured errors go into the bundle's model.json."""
    from petrt.cli.needs import need_exporter

    need_exporter("petrt export")
    from petrt.export import export_bundle
    from petrt.train.checkpoints import newest

    if precision not in ("fp32", "fp16-weights"):
        raise UsageError(f"--precision is '{precision}'", "choose fp32 or fp16-weights")
    export_bundle(newest(checkpoint), out, precision=precision, overwrite=overwrite)  # type: ignore[arg-type]
    typer.echo(out)
