"""Options that have the same meaning in several commands."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import typer

from petrt import values
from petrt.cli.choices import OneOf, offering, shipped
from petrt.errors import PetrtError, UsageError

# Panels of a command's help, in which options stand in the same place everywhere.
OUTPUTS, INPUT, IMAGE = "Outputs", "Input", "Model and image"
MACHINE, CASES = "Machine", "Several cases"
PRESETS = ("fast", "paper", "coarse")
SAMPLERS = ("ddpm", "ddim", "dpmpp2m", "mean")
ENGINES = ("auto", "native", "onnxruntime", "openvino", "torch", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp32", "fp16", "bf16")

Callback = Callable[[typer.CallbackParam, float | None], float | None]


def number(low: float, high: float = math.inf, *, unit: str = "") -> Callback:
    """The callback of an option that takes a finite number from ``low`` to ``high``. Typer's own bounds let
    NaN and infinity through."""

    def checked(option: typer.CallbackParam, value: float | None) -> float | None:
        return None if value is None else values.real(_name(option), value, low, high, unit=unit)

    return checked


def whole(low: int, high: int) -> Callable[[typer.CallbackParam, int | None], int | None]:
    """The callback of an option that takes a whole number from ``low`` to ``high``, where Typer's own bounds
    would fill the help."""

    def checked(option: typer.CallbackParam, value: int | None) -> int | None:
        return None if value is None else values.whole(_name(option), value, low, high)

    return checked


def above_zero(error: type[PetrtError] = UsageError) -> Callback:
    """The callback of an option that takes a finite number above 0; ``error`` is raised for another."""

    def checked(option: typer.CallbackParam, value: float | None) -> float | None:
        return None if value is None else values.positive(_name(option), value, error=error)

    return checked


def _name(option: typer.CallbackParam) -> str:
    return next(text for text in option.opts if text.startswith("--"))


Model = Annotated[
    str,
    typer.Option(
        help="Bundle, or name of a shipped model.", autocompletion=shipped, rich_help_panel=IMAGE
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        callback=whole(1, values.MOST),
        help="Samples to average (AMS). Default: 8.",
        show_default=False,
        rich_help_panel=IMAGE,
    ),
]
Dose = Annotated[
    str | None,
    typer.Option(
        help="Fraction of the full dose, as 1/20 or 0.05; auto: from the noise of the image. Default: "
        "auto, or the model's own dose if the model cannot tell it.",
        metavar="FRACTION",
        autocompletion=offering("auto", "1/4", "1/10", "1/20", "1/50", "1/100"),
        rich_help_panel=IMAGE,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        help="fast (one step), paper (the model's own sampler) or coarse (no denoiser, no samples). "
        "Default: fast; paper for a model without a coarse network.",
        show_default=False,
        rich_help_panel=IMAGE,
    ),
    OneOf(*PRESETS),
]
Strength = Annotated[
    float,
    typer.Option(
        callback=number(0, 1),
        help="From 0, the input, to 1, the model's image; of both between.",
        rich_help_panel=IMAGE,
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        metavar="SAMPLER",
        help=f"{', '.join(SAMPLERS)}. Default: the model's.",
        rich_help_panel=IMAGE,
    ),
    OneOf(*SAMPLERS),
]
Steps = Annotated[
    int | None,
    typer.Option(
        callback=whole(1, 1000), help="Sampler steps. Default: the model's.", rich_help_panel=IMAGE
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        callback=whole(0, values.MOST_SEED), help="Seed of the noise.", rich_help_panel=IMAGE
    ),
]
AllSlices = Annotated[
    bool,
    typer.Option(
        "--all-slices",
        help="Also reconstruct background slices, without any voxel above 0.",
        rich_help_panel=IMAGE,
    ),
]
AllowActivityChange = Annotated[
    bool,
    typer.Option(
        "--allow-activity-change",
        help="Write the image also where it changes the total activity by more than 10 %.",
        rich_help_panel=IMAGE,
    ),
]

Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="auto, cpu, cuda or cuda:N.",
        autocompletion=offering("auto", "cpu", "cuda", "cuda:0", "cuda:1"),
        rich_help_panel=MACHINE,
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        metavar="ENGINE",
        help=f"{', '.join(ENGINES[:-1])} or {ENGINES[-1]}.",
        rich_help_panel=MACHINE,
    ),
    OneOf(*ENGINES),
]
Precision = Annotated[
    str | None,
    typer.Option(help="Default: the engine's.", rich_help_panel=MACHINE),
    OneOf(*PRECISIONS),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=values.MOST_WORKERS,
        help="Number of CPU workers with one thread each. Default: chosen to use all cores.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        callback=number(0.01, 1e6, unit="GiB"),
        metavar="GIB",
        help="Memory limit, by estimate, of the process on a CPU and of a batch on a GPU. "
        "Default: 80 % of the free memory.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]

NoVerify = Annotated[
    bool,
    typer.Option("--no-verify", help="Do not compare the hashes of the data set's volumes first."),
]
Nonfinite = Annotated[
    str,
    typer.Option(help="What to do with NaN and infinite voxels.", rich_help_panel=INPUT),
    OneOf("refuse", "zero"),
]
MaxVoxels = Annotated[
    int,
    typer.Option(min=1, help="Refuse volumes with more voxels than this.", rich_help_panel=INPUT),
]
SeriesUids = Annotated[
    list[str] | None,
    typer.Option(
        "--series",
        metavar="UID",
        help="Of a DICOM input with several PET series, the one with this SeriesInstanceUID; repeat for "
        "more.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
AllSeries = Annotated[
    bool,
    typer.Option(
        "--all-series",
        help="Of a DICOM input with several PET series, each of them.",
        rich_help_panel=INPUT,
    ),
]
ForceUnits = Annotated[
    bool,
    typer.Option(
        "--force-units",
        help="Take DICOM series that are not quantitative, values unchanged.",
        rich_help_panel=INPUT,
    ),
]
Suv = Annotated[
    str | None,
    typer.Option(
        help="SUV, computed from the DICOM headers: bw, lbm, bsa or ibw (also lbmjames128, lbmjanma).",
        metavar="KIND",
        show_default=False,
        case_sensitive=False,
        rich_help_panel=INPUT,
    ),
    OneOf("bw", "lbm", "bsa", "ibw", "lbmjames128", "lbmjanma"),
]

Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Run the cases on a Ray cluster: auto (the one of this machine), HOST:PORT, or local.",
        rich_help_panel=CASES,
    ),
]
NumParts = Annotated[
    int, typer.Option(min=1, help="Number of parts to split the cases into.", rich_help_panel=CASES)
]
PartId = Annotated[
    int, typer.Option(min=0, help="Run this part only (from 0).", rich_help_panel=CASES)
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Do again what was made from another input or with other options.",
        rich_help_panel=CASES,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Read headers, look at outputs, estimate time and memory; no more.",
        rich_help_panel=CASES,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace outputs.", rich_help_panel=OUTPUTS)
]
