"""petrt bench: measures the time and memory of a reconstruction on this machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrt.cli.choices import offering_list, shipped
from petrt.cli.options import ENGINES, PRECISIONS, Device, Overwrite, Threads, number
from petrt.cli.output import STDOUT, files, not_stdout, say, write_json
from petrt.errors import UsageError
from petrt.values import MOST

if TYPE_CHECKING:
    from petrt.bench.plan import BenchPlan, Settings

SECTIONS = ("peaks", "volume", "memory", "startup", "scaling")  # petrt.bench.plan's


def bench(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]", help="Bundle, or name of a shipped model.", autocompletion=shipped
        ),
    ] = "demo",
    engine: Annotated[
        str,
        typer.Option(
            help="Engines, as onnxruntime,torch; all: those on this machine.",
            autocompletion=offering_list("all", *ENGINES[1:]),  # none is auto
        ),
    ] = "all",
    precision: Annotated[
        str,
        typer.Option(
            help="Precisions, as fp32,bf16; own: the engine's.",
            autocompletion=offering_list("own", *PRECISIONS),
        ),
    ] = "own",
    batch: Annotated[
        str, typer.Option(help="Batch, slices x samples, as 1x8,2x1; own: petrt's choice.")
    ] = "own",
    samples: Annotated[str, typer.Option(help="Samples to average, as 1,8.")] = "1",
    steps: Annotated[str, typer.Option(help="Sampler steps, as 2,10; own: the model's.")] = "own",
    size: Annotated[str, typer.Option(help="HxW of a slice; own: the model's.")] = "own",
    slices: Annotated[int, typer.Option(min=1, max=MOST, help="Slices of the volume.")] = 4,
    device: Device = "auto",
    threads: Threads = None,
    repeats: Annotated[int, typer.Option(min=1, help="Most repetitions of each candidate.")] = 7,
    budget: Annotated[
        float,
        typer.Option(callback=number(0), help="Seconds after which no new measurement starts."),
    ] = 60,
    sections: Annotated[
        str,
        typer.Option(
            help=f"What to measure, as peaks,volume; of {', '.join(SECTIONS)}.",
            autocompletion=offering_list("all", *SECTIONS),
        ),
    ] = "all",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the candidates only.")] = False,
    as_json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all numbers here; - is stdout."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the result here.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure engines, precisions, batches, samples and steps on a synthetic volume, in turn.

    Reported are medians with p10 and p90 of whole volumes and of each stage (on a CPU), the least time
    that the machine's measured peaks allow, start-up time, peak memory, and whether the time grows
    linearly. Every combination of the lists is a candidate.
    """
    from petrt.bench.plan import Settings
    from petrt.files.outputs import check_outputs
    from petrt.model.bundle import load_bundle

    not_stdout(plot=plot)
    check_outputs(files(as_json, plot), overwrite=overwrite)
    domain = load_bundle(model).model.domain
    settings = Settings(
        size=(domain.matrix or (128, 128)) if size == "own" else _pair(size, "--size", "128x128"),
        slices=slices,
        device=device,
        engines=() if engine == "all" else _words(engine),
        precisions=tuple(None if word == "own" else word for word in _words(precision)),
        batches=tuple(
            None if word == "own" else _pair(word, "--batch", "1x8") for word in _words(batch)
        ),
        samples=tuple(_number(word, "--samples") for word in _words(samples)),
        steps=tuple(None if word == "own" else _number(word, "--steps") for word in _words(steps)),
        threads=threads,
        repeats=repeats,
        budget=budget,
        sections=SECTIONS if sections == "all" else _words(sections),
    )
    _run(model, settings, dry_run, as_json, plot, overwrite)


def _run(
    model: str,
    settings: Settings,
    dry_run: bool,
    as_json: Path | None,
    plot: Path | None,
    overwrite: bool,
) -> None:
    from petrt.bench.report import text
    from petrt.bench.run import Bench
    from petrt.files.atomic import atomic_write_bytes, together

    if dry_run:
        from petrt.bench.plan import make_plan
        from petrt.model.bundle import load_bundle

        for line in _listed(make_plan(load_bundle(model), settings)):
            say(line)
        return
    result = Bench(model, settings, _say).run()
    with together():
        write_json(as_json, result, overwrite=overwrite)
        if plot is not None:
            from petrt.bench.plot import picture

            atomic_write_bytes(plot, picture(result), overwrite=overwrite)
    for line in text(result).splitlines():
        say(line, err=as_json == STDOUT)


def _listed(plan: BenchPlan) -> list[str]:
    ready = [f"{candidate.name} on {candidate.device}" for candidate in plan.candidates]
    return ready + [f"absent: {missing.name}: {missing}" for missing in plan.absent]


def _say(section: str) -> None:
    """Print progress if stderr is a terminal."""
    if sys.stderr.isatty():
        print(f"measuring: {section}", file=sys.stderr, flush=True)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _number(word: str, option: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", word):
        raise UsageError(f"{option} {word} is not a positive whole number", f"give {option} 1,8")
    return int(word)


def _pair(word: str, option: str, example: str) -> tuple[Any, Any]:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", word)
    if match is None:
        raise UsageError(
            f"{option} {word} is not of the form {example}", f"give {option} {example}"
        )
    return int(match[1]), int(match[2])
