"""petrt export: makes a bundle, which runs without PyTorch, from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from petrt.cli.output import not_stdout, say
from petrt.errors import UsageError


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new bundle.")],
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="Folder of a checkpoint or a training run.", show_default=False),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="BUNDLE",
            help="Instead of a checkpoint: a bundle of version 1, which is converted to version 2.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, or fp16-weights: rounded weights, half the size.")
    ] = "fp32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle.")] = False,
) -> None:
    """Fold the networks, write them as steps and ONNX, verify them, and record the errors in model.json."""
    not_stdout(out=out)
    if (checkpoint is None) == (source is None):
        raise UsageError("export takes a checkpoint or --from BUNDLE", "give one of them")
    if precision not in ("fp32", "fp16-weights"):
        raise UsageError(f"--precision is '{precision}'", "choose fp32 or fp16-weights")
    if source is not None:
        if precision != "fp32":
            raise UsageError("--from does not change a bundle's weights", "leave out --precision")
        _upgrade(source, out, overwrite)
    else:
        from petrt.cli.needs import need_exporter

        need_exporter("petrt export")
        from petrt.export import export_bundle
        from petrt.train.checkpoints import newest

        assert checkpoint is not None
        export_bundle(newest(checkpoint), out, precision=precision, overwrite=overwrite)  # type: ignore[arg-type]
    say(out)


def _upgrade(source: str, out: Path, overwrite: bool) -> None:
    """Convert a bundle without PyTorch; the steps are read from its ONNX."""
    from petrt.model.bundle import load_bundle
    from petrt.model.bundle_writer import check_bundle_output, upgraded, write_bundle

    check_bundle_output(out, overwrite=overwrite)
    bundle = load_bundle(source)
    write_bundle(upgraded(bundle), bundle.model, out, overwrite=overwrite)
