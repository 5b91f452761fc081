"""What is to be measured: engines x precisions x batches x samples x steps, and what is missing here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from petrt.engines.candidates import NAMES, ON_CPU, ON_GPU, Missing, Ready, candidates, find_gpu
from petrt.engines.select import ENGINES, PRECISIONS
from petrt.errors import DeviceError, UsageError, called
from petrt.hardware.gpus import Gpu
from petrt.model.bundle import Bundle
from petrt.model.half_precision import Precision

SECTIONS = ("peaks", "volume", "memory", "startup", "scaling")


@dataclass(frozen=True)
class Settings:
    """What the user asks for. None in a list stands for the engine's, the model's or petrt's own choice.

    ``size``: (height, width) on the network's grid. ``batches``: (slices, samples) of one call.
    ``budget``: seconds after which nothing new begins.
    """

    size: tuple[int, int]
    slices: int = 4
    device: str = "auto"
    engines: tuple[str, ...] = ()
    precisions: tuple[str | None, ...] = (None,)
    batches: tuple[tuple[int, int] | None, ...] = (None,)
    samples: tuple[int, ...] = (1,)
    steps: tuple[int | None, ...] = (None,)
    threads: int | None = None
    repeats: int = 7
    budget: float = 60.0
    sections: tuple[str, ...] = SECTIONS


@dataclass(frozen=True)
class Candidate:
    """One way to run the model."""

    engine: str
    precision: str
    device: str
    batch: tuple[int, int] | None
    samples: int
    steps: int
    threads: int | None = None
    denoises: bool = True  # else the model draws no samples, and takes no such options

    @property
    def name(self) -> str:
        batch = "" if self.batch is None else " b{}x{}".format(*self.batch)
        return f"{self.engine} {self.precision} s{self.samples} n{self.steps}{batch}"

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of a Reconstructor; every slice is computed, background or not. The image of a
        synthetic volume is not judged."""
        drawn = {"samples": self.samples, "steps": self.steps} if self.denoises else {}
        return {
            "engine": self.engine,
            "precision": self.precision,
            "device": self.device,
            "batch": self.batch,
            **drawn,
            "threads": self.threads,
            "skip_background": False,
            "allow_activity_change": True,
        }


@dataclass(frozen=True)
class BenchPlan:
    """``absent``: what was asked for and cannot run here, each with why and the next command."""

    device: str
    candidates: list[Candidate]
    absent: list[Missing]


def make_plan(bundle: Bundle, settings: Settings) -> BenchPlan:
    """Every candidate that this machine has an engine for; nothing is opened.

    Raises UsageError for unknown engines, precisions or devices, a size that the networks cannot take,
    and DeviceError for an absent device.
    """
    _check(bundle, settings)
    gpu = _gpu(settings.device)
    device = "cpu" if gpu is None else f"cuda:{gpu.index}"
    ready: dict[tuple[str, str], None] = {}  # an ordered set: two precisions may be the same
    absent: dict[tuple[str, str], Missing] = {}
    for precision in settings.precisions:
        for each in _engines(bundle, gpu, settings.engines, precision):
            if isinstance(each, Ready):
                ready[each.name, each.precision] = None
            else:
                absent[each.name, each.reason] = each
    own, denoises = bundle.model.sampler.steps, bundle.model.network.denoiser is not None
    found = [
        Candidate(
            engine, precision, device, batch, samples, steps or own, settings.threads, denoises
        )
        for (engine, precision), batch, samples, steps in product(
            ready, settings.batches, settings.samples, settings.steps
        )
    ]
    return BenchPlan(device, list(dict.fromkeys(found)), list(absent.values()))


def _engines(
    bundle: Bundle, gpu: Gpu | None, asked: tuple[str, ...], precision: str | None
) -> Iterator[Ready | Missing]:
    here = ON_CPU if gpu is None else ON_GPU
    place = "CPU" if gpu is None else "GPU"
    for name in asked:
        if name not in here:
            yield Missing(name, f"{NAMES[name]} does not run on a {place}", "use another --device")
    names = tuple(name for name in asked or here if name in here)
    yield from candidates(bundle, gpu, names, cast(Precision | None, precision))


def _check(bundle: Bundle, settings: Settings) -> None:
    known = [name for name in ENGINES if name != "auto"]
    for what, given, allowed in (
        ("engine", settings.engines, known),
        ("precision", settings.precisions, [None, *PRECISIONS]),
        ("sections", settings.sections, list(SECTIONS)),
    ):
        for value in given:
            if value not in allowed:
                names = ", ".join(name for name in allowed if name)
                raise UsageError(f"{called(what)} has no '{value}'", f"choose from {names}")
    multiple = 2**bundle.model.network.scales
    if any(side % multiple or side < multiple for side in settings.size):
        height, width = settings.size
        raise UsageError(
            f"{called('size')} {height}x{width} does not fit model '{bundle.model.name}'",
            f"give multiples of {multiple}",
        )


def _gpu(device: str) -> Gpu | None:
    """The GPU asked for, or for "auto" the first one if petrt can use it; None for the CPU."""
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d{1,3}))?", device)
    if match is None:
        raise UsageError(f"{called('device')} is '{device}'", "choose auto, cpu, cuda or cuda:N")
    if device == "cpu":
        return None
    gpu = find_gpu(int(match[1] or 0))
    if not isinstance(gpu, Missing):
        return gpu
    if device == "auto":
        return None
    raise DeviceError(f"cannot use {device}: {gpu.reason}", gpu.hint)
