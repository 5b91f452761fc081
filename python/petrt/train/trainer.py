"""One training step: losses, optimiser, moving average. The loop around it is petrt.train.fit."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from petrt.nets import Model
from petrt.train.config import TrainConfig
from petrt.train.data import ACTIVE, Batch, Sampler
from petrt.train.losses import (
    distance,
    guidance_loss,
    log_snr_gamma,
    noisy_residual,
    wavegrad_gamma,
)


def step_generator(seed: int, step: int) -> torch.Generator:
    """A generator that depends on (seed, step) alone, so that a resumed run draws the same noise."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class Trainer:
    """The networks, their moving average and the optimiser of one run.

    ``sigma_r``: RMS of the residual y - x_cp over active voxels, measured once when P's warm-up ends;
    D sees residuals divided by it (method.md section 3: an unscaled one loses most of its spread).
    """

    def __init__(self, config: TrainConfig, sampler: Sampler) -> None:
        torch.manual_seed(config.seed)
        self.config, self.sampler = config, sampler
        self.model = Model(config.model.network)
        self.ema = deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=config.optimizer.rate,
            weight_decay=config.optimizer.weight_decay,
        )
        self.step = 0
        self.sigma_r: float | None = None

    @property
    def denoising(self) -> bool:
        """True once P's warm-up is over and there is a denoiser to train."""
        return self.config.model.network.denoiser is not None and (
            self.step >= self.config.coarse_steps
        )

    def rate(self) -> float:
        """Learning rate of this step: linear warm-up, then cosine decay."""
        o, config = self.config.optimizer, self.config
        progress = min(self.step / config.steps, 1.0)
        cosine = o.final_rate + (1 - o.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))
        return o.rate * cosine * min(1.0, (self.step + 1) / max(o.warmup, 1))

    def coarse(self, batch: Batch, features: list[list[Tensor]]) -> Tensor:
        """x_cp of a batch [B, 1, H, W]."""
        assert self.model.coarse is not None  # the configuration demands one
        x_cp: Tensor = self.model.coarse(batch.x, features)
        return x_cp

    @torch.no_grad()
    def measure_sigma_r(self, batches: int = 8) -> float:
        """RMS of y - x_cp over active voxels of the first ``batches`` batches."""
        total, count = 0.0, 0
        for index in range(batches):
            batch = self.sampler(index)
            residual = batch.y - self.coarse(batch, self._features(batch))
            active = batch.y > ACTIVE
            total += float((residual[active].double() ** 2).sum())
            count += int(active.sum())
        return math.sqrt(total / max(count, 1))

    def _features(self, batch: Batch) -> list[list[Tensor]]:
        if self.model.guidance is None:
            return []
        spectrum = batch.x_spectrum if self.config.model.network.guide_count == 2 else None
        return self.model.guidance(batch.x_nas, spectrum)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the objective (Eq. 9) on one batch; their sum is minimised."""
        loss, model = self.config.loss, self.model
        features = self._features(batch)
        x_cp = self.coarse(batch, features)
        terms = {"coarse": loss.coarse_weight * distance(loss.coarse, x_cp, batch.y)}
        if model.guidance is not None:
            targets = {"nas": batch.y_nas, "spectrum": batch.y_spectrum}
            predictions = zip(*model.guidance.predict(features), strict=True)
            for (name, target), prediction in zip(targets.items(), predictions, strict=False):
                terms[name] = getattr(loss, name) * guidance_loss(list(prediction), target)
        if self.denoising:
            terms["denoiser"] = loss.denoiser_weight * self._denoiser_loss(batch, x_cp, features)
        return terms

    def _denoiser_loss(self, batch: Batch, x_cp: Tensor, features: list[list[Tensor]]) -> Tensor:
        """L_main (Eq. 8) on the scaled residual. P is held fixed here: its own loss trains it."""
        assert self.sigma_r is not None
        assert self.model.denoiser is not None
        generator = step_generator(self.config.seed, self.step)
        count = len(batch.x)
        loss = self.config.loss
        if loss.levels == "wavegrad":
            gamma = wavegrad_gamma(count, generator)
        else:
            gamma = log_snr_gamma(count, loss.gamma_min, loss.gamma_max, generator)
        noise = torch.randn(batch.x.shape, generator=generator)
        r0 = (batch.y - x_cp.detach()) / self.sigma_r
        r_t = noisy_residual(r0, gamma, noise)
        eps = self.model.denoiser(batch.x, r_t, gamma.sqrt(), features)
        return distance(loss.denoiser, eps, noise)

    def advance(self) -> dict[str, float]:
        """Run one step; returns the terms of the loss, the gradient's norm and the rate."""
        if self.denoising and self.sigma_r is None:
            self.sigma_r = self.measure_sigma_r()
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = self.losses(self.sampler(self.step))
        total = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip)
        if not math.isfinite(float(norm)):
            raise FloatingPointError(f"non-finite gradient at step {self.step}")
        self.optimizer.step()
        self._average()
        self.step += 1
        return {name: float(term.detach()) for name, term in terms.items()} | {
            "norm": float(norm),
            "rate": rate,
        }

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of the weights, with a shorter memory in the first steps."""
        decay = min(self.config.optimizer.ema, (1 + self.step) / (10 + self.step))
        for averaged, current in zip(self.ema.parameters(), self.model.parameters(), strict=True):
            averaged.lerp_(current, 1 - decay)
