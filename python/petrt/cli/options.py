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
    str, typer.Option(help="auto, native, onnxruntime, openvino, torch, tensorrt or tensorrt-rtx.")
]
Precision = Annotated[str | None, typer.Option(help="fp32, fp16 or bf16. Default: the engine's.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Slices side by side on a CPU, on one thread each. Default: all cores, by rule.",
        show_default=False,
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        metavar="GIB",
        help="Memory to stay within: of the process on a CPU, of a batch on a GPU. "
        "Default: 80 % of what is available.",
        show_default=False,
    ),
]
AllSlices = Annotated[
    bool,
    typer.Option("--all-slices", help="Reconstruct slices that are pure background, too."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs.")]
