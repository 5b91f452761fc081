"""Computes a training step: gradient, optimiser, moving average. petrt.train.fit holds the loop."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from petrt.nets import Model
from petrt.train.config import TrainConfig
from petrt.train.data import ACTIVE, Batch
from petrt.train.objective import Objective, guidance_features


@dataclass(frozen=True)
class Losses:
    """Values of one step before the weights change, means over all processes.

    ``terms``: the weighted terms of the objective. ``norm``: the gradient's norm before clipping.
    ``targets``: the objective's diagnostics.
    """

    terms: dict[str, float]
    norm: float
    targets: dict[str, float]


class Trainer:
    """The networks, their moving average and the optimiser of one run, the same in every process.

    ``sigma_r``: divisor of the residuals for D, None until D joins (method.md section 3: samples of an
    unscaled residual lose most of their standard deviation). ``step``: number of steps done.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator) -> None:
        torch.manual_seed(config.seed)
        self.config, self.accelerator = config, accelerator
        model = Model(config.model.network)
        if config.optimizer.init == "orthogonal":
            orthogonal(model)
        # Convolutions are faster with channels last, on GPUs and (by a quarter) on CPUs.
        self.model: Model = model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = deepcopy(self.model).requires_grad_(False) if config.optimizer.ema else None
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=config.optimizer.rate,
            weight_decay=config.optimizer.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.step = 0
        self.sigma_r: float | None = None
        self._objective: Objective | None = None
        self._forward: nn.Module | None = None
        self._with_denoiser = False

    @property
    def averaged(self) -> Model:
        """The model with the averaged weights, or the model itself without a moving average."""
        return self.model if self.ema is None else self.ema

    @property
    def denoising(self) -> bool:
        """Whether there is a denoiser and P's warm-up is over."""
        return self.model.denoiser is not None and self.step >= self.config.coarse_steps

    def rate(self) -> float:
        """Learning rate of this step: linear warm-up, then constant or a cosine decay."""
        o = self.config.optimizer
        factor = min(1.0, (self.step + 1) / max(o.warmup, 1))
        if o.schedule == "cosine":
            progress = min(self.step / self.config.steps, 1.0)
            factor *= o.final_rate + (1 - o.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))
        return o.rate * factor

    @torch.no_grad()
    def measure_sigma_r(self, batches: Iterable[Batch]) -> float:
        """RMS of y - x_cp over active voxels / ``residual_std``; x_cp = 0 without P.

        ``batches`` are this process's parts; the result is over all processes and the same in each.
        """
        wanted, model = self.config.model.residual_std, self.model
        if not wanted:
            return 1.0
        sums = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        for share in batches:
            batch = share.to(self.accelerator.device)
            residual = batch.y
            if model.coarse is not None:
                residual = batch.y - model.coarse_of(
                    batch.x, batch.x_nas, guidance_features(model, batch)
                )
            squares = residual[batch.y > ACTIVE].double() ** 2
            sums += torch.stack([squares.sum(), torch.tensor(squares.numel()).to(squares)])
        total, count = self.accelerator.reduce(sums, "sum").tolist()
        return math.sqrt(total / count) / wanted if total else 1.0

    def gradients(self, batch: Batch) -> Losses:
        """Forward and backward pass of this process's part of a batch; gradients are averaged and clipped."""
        terms = self._wrapped()(batch, denoising=self.denoising, sigma_r=self.sigma_r)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(torch.stack(list(terms.values())).sum())
        clip = self.config.optimizer.clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        assert self._objective is not None
        targets = dict(self._objective.diagnostics)
        # All values in one tensor: one reduction, one wait for the device.
        values = torch.stack(
            [norm.detach(), *(term.detach() for term in terms.values())]
            + [torch.tensor(value).to(norm) for value in targets.values()]
        )
        means = self.accelerator.reduce(values, "mean").tolist()
        split = 1 + len(terms)
        return Losses(
            dict(zip(terms, means[1:split], strict=True)),
            means[0],
            dict(zip(targets, means[split:], strict=True)),
        )

    def update(self) -> None:
        """Update the weights with the last gradients, and their moving average."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.step()
        if self.ema is not None:
            # A shorter average in the first steps.
            decay = min(self.config.optimizer.ema, (1 + self.step) / (10 + self.step))
            average = get_ema_multi_avg_fn(decay)
            average(list(self.ema.parameters()), list(self.model.parameters()), self.step)
        self.step += 1

    def _wrapped(self) -> nn.Module:
        """The objective wrapped by accelerate: mixed precision, gradients averaged over processes.

        It is wrapped again when D joins. Until then D's weights are frozen, because the averaging waits
        for the gradient of every weight.
        """
        if self._forward is None or self._with_denoiser != self.denoising:
            self._forward = None
            self.accelerator.free_memory()  # drops the first wrapper's hooks
            if self.model.denoiser is not None:
                self.model.denoiser.requires_grad_(self.denoising)
            self._objective = Objective(self.model, self.config)
            self._forward = self.accelerator.prepare_model(self._objective)
            self._with_denoiser = self.denoising
        return self._forward


def orthogonal(model: nn.Module) -> None:
    """Set orthogonal weights and zero biases in all convolutions and linear maps, as in the authors' code.

    Weights that start as zero are not in the authors' networks and stay zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and bool(module.weight.any()):
            nn.init.orthogonal_(module.weight)
            if isinstance(module.bias, Tensor):
                nn.init.zeros_(module.bias)
