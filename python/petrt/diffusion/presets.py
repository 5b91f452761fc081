"""Presets of the reverse process: how a model is sampled, under one name.

``paper`` is the model's own sampler and, unless another number is asked for, a single sample. ``fast`` is the
mean of an antithetic pair of one-step estimates: sample 1 takes the negated noise of sample 0, so that what
the noise leaves in one of them it takes from the other. It is the cheapest setting of the curve that
``python -m benchmarks.quality samplers`` measures whose image is as good by PSNR. Its std is another one:
a calibration holds for the sampler, steps and samples it was fitted with
(petrt.evaluation.calibration), so that of another sampler is never applied to it.

A preset fixes the sampler, so a sampler or steps beside it contradict it; its number of samples is only
the default.
"""

from __future__ import annotations

from dataclasses import dataclass

from petrt.errors import UsageError
from petrt.model.spec import SamplerSpec

KINDS = ("ddpm", "ddim", "dpmpp2m", "mean")


@dataclass(frozen=True)
class Preset:
    """``sampler``: None is the model's own. ``samples``: averaged unless the caller says how many."""

    sampler: SamplerSpec | None
    samples: int


PRESETS = {
    "paper": Preset(None, samples=1),
    "fast": Preset(SamplerSpec(kind="mean", steps=1), samples=2),
}
DEFAULT = "paper"


@dataclass(frozen=True)
class Process:
    """What is run. ``preset``: its name, or None where sampler or steps were given instead."""

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
    """The process of a model whose own sampler is ``own``, by a preset or by sampler and steps.

    A preset never takes more steps than the model's own sampler. ``coarse``: whether the model has a
    coarse network. Without one the denoiser makes the whole image, which one step from noise is not
    enough for. Raises UsageError for an unknown preset or sampler, steps or samples out of range, a preset
    beside a sampler or steps, and ``fast`` where there is no coarse network.
    """
    if samples is not None and samples < 1:
        raise UsageError(f"samples must be at least 1, got {samples}")
    if sampler is None and steps is None:
        name = preset or DEFAULT
        chosen = _named(name)
        if chosen.sampler and not coarse:
            raise UsageError(
                f"preset '{name}' needs a model with a coarse network", "drop it, or give --steps"
            )
        spec = (
            own if chosen.sampler is None or own.steps <= chosen.sampler.steps else chosen.sampler
        )
        return Process(spec, samples or chosen.samples, name)
    if preset is not None:
        given = "a sampler" if sampler is not None else "a number of steps"
        raise UsageError(
            f"preset '{preset}' fixes sampler and steps, and {given} is given too",
            "drop one of them",
        )
    spec = _explicit(own, sampler, steps)
    return Process(spec, samples or _named(DEFAULT).samples, None)


def default_samples(preset: str | None) -> int:
    """How many samples are averaged where nobody says. Raises UsageError for an unknown preset."""
    return _named(preset or DEFAULT).samples


def _named(preset: str) -> Preset:
    if preset not in PRESETS:
        raise UsageError(f"unknown preset '{preset}'", f"choose {' or '.join(PRESETS)}")
    return PRESETS[preset]


def _explicit(own: SamplerSpec, kind: str | None, steps: int | None) -> SamplerSpec:
    """The model's own sampler with another kind, other steps, or both."""
    if kind not in (None, *KINDS):
        raise UsageError(f"unknown sampler '{kind}'", "choose ddpm, ddim, dpmpp2m or mean")
    if steps is not None and not 1 <= steps <= 1000:
        raise UsageError(f"steps must lie in 1 .. 1000, got {steps}")
    if steps is None:
        steps = 1 if kind == "mean" else own.steps
    return own.model_copy(update={"kind": kind or own.kind, "steps": steps})
