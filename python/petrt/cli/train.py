"""petrt train: trains a model on a prepared data set."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from petrt.cli.choices import OneOf, offering, shipped
from petrt.cli.options import OUTPUTS, NoVerify
from petrt.cli.output import not_stdout, say
from petrt.cli.validation import tell_validation
from petrt.errors import UsageError
from petrt.model.spec import Spec
from petrt.values import MOST_SEED, MOST_WORKERS

if TYPE_CHECKING:
    from petrt.train.config import TrainConfig

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=Spec)
PRESETS = ("demo", "default", "paper", "official")  # the files in petrt/train/presets


def train(
    config: Annotated[
        str,
        typer.Argument(
            help=f"A TOML file, or a preset: {', '.join(PRESETS)}.",
            autocompletion=offering(*PRESETS),
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Data set folder, as petrt prepare writes it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run: checkpoints, log, curves.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in OUT from its newest checkpoint.")
    ] = False,
    resume_from: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="STEP", help="Continue from this checkpoint and delete later ones."
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start with the weights of this checkpoint, run or bundle; demo is the shipped model.",
            autocompletion=shipped,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps. Default: the configuration's.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MOST_SEED, help="Seed. Default: the configuration's.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_WORKERS, help="CPU threads of each process. Default: all cores."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, max=MOST_WORKERS, help="Loader processes. Default: the configuration's."
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Default: the configuration's."), OneOf("fp32", "bf16")
    ] = None,
    export_to: Annotated[
        Path | None,
        typer.Option("--export", metavar="BUNDLE", help="Make a bundle of the trained model here."),
    ] = None,
    no_verify: NoVerify = False,
    write_config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the whole configuration here (.toml), with what each key may be and its default, "
            "to be edited; and train nothing.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace the file of --write-config.", rich_help_panel=OUTPUTS
        ),
    ] = False,
) -> None:
    """Train a model. --resume continues a run that was stopped or killed.

    On several GPUs: accelerate launch -m petrt train ... (on CPUs: torchrun -m petrt train ...). The
    batch size is that of all processes together. The precision is the configuration's, not the
    launcher's.
    """
    not_stdout(out=out, write_config=write_config)
    if write_config is not None:
        values = _resolved(config, seed=seed, steps=steps, precision=precision, workers=workers)
        _write_config(write_config, values, config, overwrite)
        return
    if overwrite:
        raise UsageError("--overwrite is for --write-config", "a run is continued by --resume")
    if data is None or out is None:
        missing = " and ".join(
            name for name, given in (("--data", data), ("--out", out)) if given is None
        )
        raise UsageError(f"{missing} missing", "give the data set and the folder of the run")
    from petrt.cli.needs import need_exporter, need_trainer

    need_trainer("petrt train")
    if export_to is not None:
        from petrt.model.bundle_writer import check_bundle_output

        need_exporter("petrt train --export")
        check_bundle_output(export_to)
    from accelerate import PartialState

    from petrt.cli.progress import bar
    from petrt.hardware.cpu import default_threads
    from petrt.train.fit import fit
    from petrt.train.interrupt import TrainingStopped

    if init is not None and (resume or resume_from is not None):
        raise UsageError("--init begins a new run, --resume continues one", "give one of them")
    settings = _resolved(config, seed=seed, steps=steps, precision=precision, workers=workers)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    main = os.environ.get("RANK", "0") == "0"
    with bar("training", "steps") if main else nullcontext(lambda *_: None) as progress:
        try:
            checkpoint = fit(
                settings,
                data,
                out,
                resume=resume,
                resume_from=resume_from,
                init=init,
                threads=threads or max(1, default_threads() // local),
                verify=not no_verify,
                progress=lambda step, _: progress(step, settings.steps),
            )
        except TrainingStopped as stop:
            if main:
                logger.warning("%s", stop)
            raise typer.Exit(stop.exit_code) from None
    if main:
        say(checkpoint)
    PartialState().destroy_process_group()
    if main and export_to is not None:
        from petrt.export import export_bundle

        manifest = export_bundle(checkpoint, export_to)
        tell_validation(manifest.export.get("source", {}))
        say(export_to)


def _resolved(source: str, *, workers: int | None, **changes: object) -> TrainConfig:
    """The configuration with what the command line changes. Raises InputError, UsageError."""
    from petrt.train.config import load_config

    settings = load_config(source)
    loading = _changed(settings.data, workers=workers)
    settings = _changed(settings, data=loading, **changes)
    if settings.coarse_steps > settings.steps:
        raise UsageError(
            f"{settings.steps} steps end before the denoiser joins at {settings.coarse_steps}",
            "raise --steps, or lower coarse_steps in the configuration",
        )
    return settings


def _write_config(path: Path, settings: TrainConfig, source: str, overwrite: bool) -> None:
    """Write all keys of ``settings``, which came from ``source``."""
    from petrt import __version__
    from petrt.files.atomic import atomic_write_bytes
    from petrt.files.names import printable, shown
    from petrt.files.outputs import check_output
    from petrt.files.toml_text import written

    if path.suffix != ".toml":
        raise UsageError(f"--write-config {shown(path)}: not a name of TOML", "end it in .toml")
    check_output(path, [Path(source)], overwrite=overwrite)
    name = printable(Path(source).name)
    title = f"Every key of {name}, as petrt {__version__} reads it. A key that is left out has its default."
    atomic_write_bytes(path, written(settings, title).encode(), overwrite=overwrite)
    say(path)


def _changed(settings: Settings, **changes: object) -> Settings:
    """A copy with the values given on the command line."""
    return settings.model_copy(update={k: v for k, v in changes.items() if v is not None})
