"""petrt train: trains a model on a prepared data set."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from petrt.cli.choices import OneOf
from petrt.cli.options import NoVerify
from petrt.cli.output import not_stdout, say
from petrt.errors import UsageError
from petrt.model.spec import Spec
from petrt.values import MOST_SEED, MOST_WORKERS

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=Spec)


def train(
    config: Annotated[
        str, typer.Argument(help="A TOML file, or a preset: demo, default, paper, official.")
    ],
    data: Annotated[Path, typer.Option(help="Data set folder, as petrt prepare writes it.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, log, curves.")],
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
            help="Start with the weights of this checkpoint, run or bundle; demo is the shipped model."
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
) -> None:
    """Train a model. --resume continues a run that was stopped or killed.

    On several GPUs: accelerate launch -m petrt train ... (on CPUs: torchrun -m petrt train ...). The
    batch size is that of all processes together. The precision is the configuration's, not the
    launcher's.
    """
    not_stdout(out=out)
    from petrt.cli.needs import need_exporter, need_trainer

    need_trainer("petrt train")
    if export_to is not None:
        from petrt.model.bundle_writer import check_bundle_output

        need_exporter("petrt train --export")
        check_bundle_output(export_to)
    from accelerate import PartialState

    from petrt.cli.progress import bar
    from petrt.hardware.cpu import default_threads
    from petrt.train.config import load_config
    from petrt.train.fit import fit
    from petrt.train.interrupt import TrainingStopped

    if init is not None and (resume or resume_from is not None):
        raise UsageError("--init begins a new run, --resume continues one", "give one of them")
    settings = load_config(config)
    loading = _changed(settings.data, workers=workers)
    settings = _changed(settings, seed=seed, steps=steps, precision=precision, data=loading)
    if settings.coarse_steps > settings.steps:
        raise UsageError(
            f"{settings.steps} steps end before the denoiser joins at {settings.coarse_steps}",
            "raise --steps, or lower coarse_steps in the configuration",
        )
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

        export_bundle(checkpoint, export_to)
        say(export_to)


def _changed(settings: Settings, **changes: object) -> Settings:
    """A copy with the values given on the command line."""
    return settings.model_copy(update={k: v for k, v in changes.items() if v is not None})
