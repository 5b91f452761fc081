"""Presets: names for a sampler, its number of steps and a default number of samples.

``paper`` is the model's own sampler with one sample. ``fast`` is the mean of an antithetic pair of one-step
estimates: sample 1 has the negated noise of sample 0, so the noise cancels from their mean. It is the
cheapest setting with the same PSNR in ``python -m benchmarks.quality samplers``. Its standard deviation
differs from that of ``paper``. A calibration is valid only for the sampler, steps and samples of its fit.

A preset fixes sampler and steps, so giving one of them too is an error. The number of samples can be changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from petrt.errors import UsageError
from petrt.model.spec import SamplerSpec
from petrt.values import MOST, whole, word

KINDS = ("ddpm", "ddim", "dpmpp2m", "mean")
MOST_STEPS = 1000


@dataclass(frozen=True)
class Preset:
    """``sampler``: None is the model's own. ``samples``: the default number of samples to average."""

    sampler: SamplerSpec | None
    samples: int


PRESETS = {
    "paper": Preset(None, samples=1),
    "fast": Preset(SamplerSpec(kind="mean", steps=1), samples=2),
}
DEFAULT = "paper"


@dataclass(frozen=True)
class Process:
    """The sampler and samples to run. ``preset``: None if sampler or steps were given instead."""

    sampler: SamplerSpec
    samples: int
    preset: str | None


def settle(
    own: SamplerSpec,
    *,
    preset: str | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    samples: int | None = None,
    coarse: bool = True,
) -> Process:
    """The process for a model with the sampler ``own``, from a preset or from sampler and steps.

    A preset never takes more steps than ``own``. ``coarse``: whether the model has a coarse network;
    without one the denoiser samples the whole image, and one step does not suffice. Raises UsageError
    for an unknown preset or sampler, steps or samples out of range, a preset together with a sampler or
    steps, and ``fast`` without a coarse network.
    """
    if samples is not None:
        samples = whole("samples", samples, 1, MOST)
    if sampler is None and steps is None:
        name = DEFAULT if preset is None else preset
        chosen = _named(name)
        if chosen.sampler and not coarse:
            raise UsageError(
                f"preset '{name}' needs a model with a coarse network",
                "leave it out, or give --steps",
            )
        spec = (
            own if chosen.sampler is None or own.steps <= chosen.sampler.steps else chosen.sampler
        )
        return Process(spec, samples or chosen.samples, name)
    if preset is not None:
        given = "a sampler" if sampler is not None else "a number of steps"
        raise UsageError(
            f"preset '{preset}' fixes sampler and steps, and {given} is given too",
            "give one of them",
        )
    spec = _explicit(own, sampler, steps)
    return Process(spec, samples or _named(DEFAULT).samples, None)


def default_samples(preset: str | None) -> int:
    """The default number of samples to average. Raises UsageError for an unknown preset."""
    return _named(DEFAULT if preset is None else preset).samples


def _named(preset: str) -> Preset:
    if word("preset", preset) not in PRESETS:
        raise UsageError(f"unknown preset '{preset}'", f"choose {' or '.join(PRESETS)}")
    return PRESETS[preset]


def _explicit(own: SamplerSpec, kind: str | None, steps: int | None) -> SamplerSpec:
    """The model's own sampler with its kind or its steps replaced."""
    if kind is not None and word("sampler", kind) not in KINDS:
        raise UsageError(f"unknown sampler '{kind}'", "choose ddpm, ddim, dpmpp2m or mean")
    if steps is not None:
        steps = whole("steps", steps, 1, MOST_STEPS)
    if steps is None:
        steps = 1 if kind == "mean" else own.steps
    return own.model_copy(update={"kind": kind or own.kind, "steps": steps})
