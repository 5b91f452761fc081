"""petrt export: makes a bundle, which runs without PyTorch, from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrt.cli.choices import OneOf, shipped
from petrt.cli.output import not_stdout, say
from petrt.cli.validation import tell_validation
from petrt.errors import UsageError
from petrt.files.names import shown

if TYPE_CHECKING:
    from petrt.model.spec import CardSpec


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
            help="Instead of a checkpoint: a bundle of version 1, which is converted to version 2, or "
            "with --card any bundle.",
            autocompletion=shipped,
            show_default=False,
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            help="The model card: population, training (texts), numbers, refusals, biases (lists of texts).",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(help="fp16-weights: rounded weights, half the size."),
        OneOf("fp32", "fp16-weights"),
    ] = "fp32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle.")] = False,
) -> None:
    """Fold the networks, write them as steps and ONNX, verify them, and record the errors in model.json.

    Of a run its newest checkpoint. A line says which step of the training that is and how it did in its
    last validation; a coarse prediction that is worse than the input gives a warning.
    """
    not_stdout(out=out)
    if (checkpoint is None) == (source is None):
        raise UsageError("export takes a checkpoint or --from BUNDLE", "give one of them")
    told = None if card is None else _card(card)
    if source is not None:
        if precision != "fp32":
            raise UsageError("--from does not change a bundle's weights", "leave out --precision")
        _upgrade(source, out, told, overwrite)
    else:
        from petrt.cli.needs import need_exporter

        need_exporter("petrt export")
        from petrt.export import export_bundle
        from petrt.train.checkpoints import newest

        assert checkpoint is not None
        how: dict[str, Any] = {"precision": precision, "overwrite": overwrite, "card": told}
        manifest = export_bundle(newest(checkpoint), out, **how)
        tell_validation(manifest.export.get("source", {}))
    say(out)


def _upgrade(source: str, out: Path, card: CardSpec | None, overwrite: bool) -> None:
    """Convert a bundle without PyTorch; the steps are read from its ONNX. With ``card`` a bundle of the
    newest version is written with that card alone."""
    from petrt.model.bundle import VERSION, load_bundle
    from petrt.model.bundle_writer import check_bundle_output, upgraded, write_bundle

    check_bundle_output(out, overwrite=overwrite)
    bundle = load_bundle(source)
    if card is None or bundle.manifest.version < VERSION:
        bundle = upgraded(bundle)
    model = bundle.model if card is None else bundle.model.model_copy(update={"card": card})
    write_bundle(bundle, model, out, overwrite=overwrite)


def _card(path: Path) -> CardSpec:
    """The model card in a TOML file. Raises InputError, which names the first wrong key."""
    from petrt.files.system import reading
    from petrt.files.toml import parsed
    from petrt.model.spec import CardSpec

    with reading(path):
        return parsed(CardSpec, path.read_text(encoding="utf-8"), shown(path))
