"""Detects training runs that do not learn or no longer learn (method.md section 5 lists the causes)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from petrt.errors import TrainingCollapsed
from petrt.train.config import TrainConfig

Scores = Mapping[str, Mapping[str, float]]

# Steps over which a target's standard deviation is averaged, since one batch may hold mostly air.
WINDOW = 50
# A target has collapsed below this fraction of its first standard deviation (authors' code: 0.12).
SPREAD_LEFT = 0.25
# Number of validations in which P may be worse than its input while it gains less than GAIN dB.
PATIENCE = 2
GAIN = 0.1


class Watch:
    """Gets the values of every step and validation, and raises TrainingCollapsed with a remedy.

    ``start``: mean standard deviation of each guidance target over its first ``WINDOW`` steps.
    """

    def __init__(self, config: TrainConfig, start: Mapping[str, float] | None = None) -> None:
        self.config = config
        self.start = dict(start or {})
        self._recent: dict[str, deque[float]] = {}
        self._worse, self._best = 0, -math.inf

    def step(
        self, step: int, values: Mapping[str, float], targets: Mapping[str, float] | None = None
    ) -> None:
        """``values``: terms of the loss and the gradient's norm. ``targets``: name -> standard deviation.

        Call it before the weights change, so that the last good ones remain.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingCollapsed(
                    f"{_what(name)} is not finite at step {step}",
                    f"the last checkpoint is good; {self._calmer()}",
                )
        for name, spread in (targets or {}).items():
            self._follow(step, name, spread)

    def validation(self, step: int, scores: Scores) -> None:
        """``scores``: protocol -> image -> PSNR. Compares ``coarse`` with ``low`` after P's warm-up."""
        warm = self.config.coarse_steps or self.config.steps // 10
        pairs = [(s["coarse"], s["low"]) for s in scores.values() if "coarse" in s]
        if step < warm or not pairs:
            return
        coarse, low = pairs[0]
        if any(predicted >= given for predicted, given in pairs):
            self._worse = 0
        elif not self._worse or not coarse > self._best + GAIN:  # NaN gains nothing
            self._worse += 1
        self._best = max(coarse, self._best)
        if self._worse >= PATIENCE:
            raise TrainingCollapsed(
                f"the coarse prediction is worse than its input at step {step} and does not improve: "
                f"PSNR {coarse:.2f} dB, input {low:.2f} dB",
                self._teach(),
            )

    def _follow(self, step: int, name: str, spread: float) -> None:
        recent = self._recent.setdefault(name, deque(maxlen=WINDOW))
        recent.append(spread)
        if len(recent) < WINDOW:
            return
        mean = sum(recent) / WINDOW
        start = self.start.setdefault(name, mean)
        if mean < SPREAD_LEFT * start:
            raise TrainingCollapsed(
                f"the guidance target '{name}' collapses: its standard deviation fell from "
                f"{start:.3g} to {mean:.3g} by step {step}",
                'use loss.guidance_target = "pooled", which no network can shrink',
            )

    def _teach(self) -> str:
        """A remedy if P does not learn."""
        loss = self.config.loss
        if not loss.coarse_weight:
            return "give P a loss of its own (loss.coarse_weight) and a warm-up (coarse_steps)"
        if not self.config.coarse_steps:
            return "train P alone first (coarse_steps), or lower optimizer.rate"
        return "lower optimizer.rate, or raise loss.coarse_weight or coarse_steps"

    def _calmer(self) -> str:
        """A remedy if the gradient is not finite."""
        config = self.config
        options = ["lower optimizer.rate"]
        if not config.optimizer.clip:
            options.append("set optimizer.clip")
        if config.loss.contrastive in ("paper", "official"):
            options.append('use loss.contrastive = "margin"')
        if config.precision == "bf16":
            options.append('use precision = "fp32"')
        return " or ".join(options)


def _what(name: str) -> str:
    return "the gradient" if name == "norm" else f"the loss term '{name}'"
