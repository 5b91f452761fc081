"""Presets: names for a sampler, its number of steps and a default number of samples.

``fast`` is the mean of one-step estimates in antithetic pairs: sample 2k + 1 has the negated noise of sample
2k, so the noise cancels from their mean. It is the cheapest setting with the best PSNR in ``python -m
benchmarks.quality samplers``, and the default. ``paper`` is the model's own sampler, of which the mean of
eight samples gives the same PSNR. ``coarse`` has no sampler: the coarse prediction is the image, without an
uncertainty. A model without a coarse network samples the whole image, for which one step does not suffice:
its default is ``paper``. A model without a denoiser has ``coarse`` alone.

The samples' standard deviation differs from preset to preset. A calibration is valid only for the sampler,
steps and samples of its fit.

A preset fixes sampler and steps, so giving one of them too is an error. The number of samples can be changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from petrt.errors import UsageError, called, way
from petrt.model.spec import SamplerSpec
from petrt.values import MOST, shown, whole, word

KINDS = ("ddpm", "ddim", "dpmpp2m", "mean")
MOST_STEPS = 1000
# Samples that are averaged where no number is given, of a preset or of a sampler and steps.
SAMPLES = 8


@dataclass(frozen=True)
class Preset:
    """``sampler``: None is the model's own. ``samples``: the default number of samples to average; 0 where
    the denoiser does not run."""

    sampler: SamplerSpec | None
    samples: int


PRESETS = {
    "fast": Preset(SamplerSpec(kind="mean", steps=1), SAMPLES),
    "paper": Preset(None, SAMPLES),
    "coarse": Preset(None, 0),
}
DEFAULT = "fast"


@dataclass(frozen=True)
class Process:
    """The sampler and samples to run. ``sampler``: None, with 0 samples, where the denoiser does not run.
    ``preset``: None if sampler or steps were given instead."""

    sampler: SamplerSpec | None
    samples: int
    preset: str | None


COARSE = Process(None, 0, "coarse")


def settle(
    own: SamplerSpec,
    *,
    preset: str | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    samples: int | None = None,
    coarse: bool = True,
    denoiser: bool = True,
) -> Process:
    """The process for a model with the sampler ``own``, from a preset or from sampler and steps.

    A preset never takes more steps than ``own``. ``coarse``, ``denoiser``: whether the model has such a
    network. Raises UsageError for an unknown preset or sampler, steps or samples out of range, a preset
    together with a sampler or steps, samples of ``coarse``, and what the model's networks cannot give.
    """
    if samples is not None:
        samples = whole("samples", samples, 1, MOST)
    if preset is not None:
        _named(preset)
    if not denoiser:
        return _without_denoiser(preset, sampler, steps, samples)
    if sampler is None and steps is None:
        return _of_preset(own, preset, samples, coarse)
    if preset is not None:
        given = "a sampler" if sampler is not None else "a number of steps"
        raise UsageError(
            f"{called('preset')} {preset} fixes sampler and steps, and {given} is given too",
            "give one of them",
        )
    return Process(_explicit(own, sampler, steps), samples or SAMPLES, None)


def samples_of(preset: str | None, samples: int | None) -> int:
    """The number of samples before a model is loaded: ``samples``, or the preset's; 0 of ``coarse``. Raises
    UsageError for an unknown preset."""
    chosen = _named(DEFAULT if preset is None else preset)
    return chosen.samples if samples is None else samples


def _of_preset(own: SamplerSpec, preset: str | None, samples: int | None, coarse: bool) -> Process:
    """The process of a preset, by default the model's best."""
    name = preset or (DEFAULT if coarse else "paper")
    chosen = PRESETS[name]
    if name != "paper" and not coarse:
        raise UsageError(
            f"{called('preset')} {name} needs a model with a coarse network",
            way("steps", "10", "samples the whole image", "leave it out"),
        )
    if not chosen.samples:
        if samples is not None:
            raise UsageError(
                f"{called('preset')} {name} draws no samples, and a number of them is given too",
                "give one of them",
            )
        return COARSE
    spec = chosen.sampler
    if spec is None or own.steps <= spec.steps:
        spec = own
    return Process(spec, samples or chosen.samples, name)


def _without_denoiser(
    preset: str | None, sampler: str | None, steps: int | None, samples: int | None
) -> Process:
    given = {"sampler": sampler, "steps": steps, "samples": samples}
    wrong = [called(name) for name, value in given.items() if value is not None]
    if preset not in (None, "coarse"):
        wrong.insert(0, f"{called('preset')} {preset}")
    if wrong:
        raise UsageError(
            f"{wrong[0]}: the model has no denoiser, so it gives its coarse prediction alone",
            "leave it out",
        )
    return COARSE


def _named(preset: str) -> Preset:
    if word("preset", preset) not in PRESETS:
        *others, last = PRESETS
        raise UsageError(
            f"{called('preset')} is {shown(preset)}", f"choose {', '.join(others)} or {last}"
        )
    return PRESETS[preset]


def _explicit(own: SamplerSpec, kind: str | None, steps: int | None) -> SamplerSpec:
    """The model's own sampler with its kind or its steps replaced."""
    if kind is not None and word("sampler", kind) not in KINDS:
        raise UsageError(
            f"{called('sampler')} is {shown(kind)}", "choose ddpm, ddim, dpmpp2m or mean"
        )
    if steps is not None:
        steps = whole("steps", steps, 1, MOST_STEPS)
    if steps is None:
        steps = 1 if kind == "mean" else own.steps
    return own.model_copy(update={"kind": kind or own.kind, "steps": steps})
