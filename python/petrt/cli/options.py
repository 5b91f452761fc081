"""Options that several commands have, with the same meaning in each."""

from __future__ import annotations

from typing import Annotated

import typer

Preset = Annotated[
    str | None,
    typer.Option(
        help="How the model is sampled: paper (its own sampler, 1 sample) or fast (one step, "
        "2 samples). Default: paper.",
        show_default=False,
    ),
]
Sampler = Annotated[
    str | None, typer.Option(help="ddpm, ddim, dpmpp2m or mean. Default: the model's.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Reverse steps. Default: the model's.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the noise.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
EngineName = Annotated[
    str, typer.Option(help="auto, native, onnxruntime, torch, tensorrt or tensorrt-rtx.")
]
Precision = Annotated[str | None, typer.Option(help="fp32, fp16 or bf16. Default: the engine's.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs.")]
