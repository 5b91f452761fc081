"""petrt train: from a data set to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from petrt.errors import UsageError


def train(
    config: Annotated[str, typer.Argument(help="A TOML file, or a preset: demo, default.")],
    data: Annotated[Path, typer.Option(help="Data set folder, as petrt simulate writes it.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoint and log.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT.")] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps in all. Default: the configuration's.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed. Default: the configuration's.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")
    ] = None,
) -> None:
    """Train a model; a run that was stopped goes on with --resume."""
    from petrt.cli.needs import need_torch

    need_torch("petrt train")
    from petrt.cli.progress import bar
    from petrt.engines.select import default_threads
    from petrt.train.config import load_config
    from petrt.train.fit import fit

    settings = load_config(config)
    changes = {"steps": steps, "seed": seed}
    settings = settings.model_copy(update={k: v for k, v in changes.items() if v is not None})
    if settings.coarse_steps > settings.steps:
        raise UsageError(
            f"{settings.steps} steps end before the denoiser joins at {settings.coarse_steps}",
            "raise --steps, or lower coarse_steps in the configuration",
        )
    with bar("training", "steps") as progress:
        checkpoint = fit(
            settings,
            data,
            out,
            resume=resume,
            threads=threads or default_threads(),
            progress=lambda step, _: progress(step, settings.steps),
        )
    typer.echo(checkpoint)
